"""The working copy of one decision: the context so far, and what is to be told."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from modelrollout.api.conditions import Phase
from modelrollout.api.schedule import Transition as Announcement
from modelrollout.api.spec import ModelRolloutSpec
from modelrollout.api.status import ModelRolloutStatus, RunStatus
from modelrollout.decision.context import MESSAGE_LIMIT, Blocker, Context, Stage
from modelrollout.decision.stages import RunRules, StageRules, current_stage
from modelrollout.decision.types import Observation, Severity, Transition, Workload

_NO_RUN = "no run is under way; look at Draft.stage before you ask for it"


@dataclass(kw_only=True)
class Draft:
    """The decision under construction. Used by one call of `decide` and thrown away with it.

    Each change of the status makes another context; one that was taken before stays what it is.
    """

    context: Context
    transitions: list[Transition] = field(default_factory=list)
    delete_jobs: list[str] = field(default_factory=list)
    fresh_wanted: bool = False  # the run could go on, were the values not old
    found: tuple[Blocker, ...] = ()  # what keeps the run from going on
    finalized: bool = False
    stable_usable: bool = True  # no problem concerns the stable version
    _rules: StageRules | None = None

    def set(self, **changes: Any) -> None:
        """Replace fields of the status."""
        self.replace_status(self.status.model_copy(update=changes))

    def replace_status(self, status: ModelRolloutStatus) -> None:
        """Go on with another status."""
        self.context = replace(self.context, status=status)

    def change_run(self, **changes: Any) -> None:
        """Replace fields of the run in status."""
        self.set(run=self.run.model_copy(update=changes))

    def enter(self, phase: Phase, reason: str, message: str = "") -> None:
        """Show a phase and why."""
        message = message[:MESSAGE_LIMIT]
        status = self.status
        if (status.phase, status.reason, status.message) != (phase, reason, message):
            self.set(phase=phase, reason=str(reason), message=message)

    def say(
        self,
        reason: str,
        message: str,
        *,
        announcement: Announcement | None = None,
        criterion: str | None = None,
        warning: bool = False,
    ) -> None:
        """Record a transition for Events, log and notifications."""
        self.transitions.append(
            Transition(
                reason=str(reason),
                message=message,
                severity=Severity.WARNING if warning else Severity.NORMAL,
                criterion=criterion,
                announcement=announcement,
            )
        )

    @property
    def spec(self) -> ModelRolloutSpec:
        """What is asked for (see `Context.spec`)."""
        return self.context.spec

    @property
    def status(self) -> ModelRolloutStatus:
        """The status so far."""
        return self.context.status

    @property
    def observed(self) -> Observation:
        """Everything outside."""
        return self.context.observed

    @property
    def now(self) -> datetime:
        """UTC."""
        return self.context.now

    @property
    def rules(self) -> StageRules:
        """The stage that the run is in now, with its answers."""
        if self._rules is None or self._rules.context is not self.context:
            self._rules = current_stage(self.context)
        return self._rules

    @property
    def run_rules(self) -> RunRules:
        """The stage of the run under way.

        Raises:
            LookupError: There is none: a mistake of the caller.
        """
        rules = self.rules
        if not isinstance(rules, RunRules):
            raise LookupError(_NO_RUN)
        return rules

    @property
    def stage(self) -> Stage:
        """Where the run is now."""
        return self.rules.kind

    @property
    def run(self) -> RunStatus:
        """The run under way.

        Raises:
            LookupError: There has been none: a mistake of the caller.
        """
        run = self.status.run
        if run is None:
            raise LookupError(_NO_RUN)
        return run

    @property
    def total(self) -> int:
        """Serving pods in all."""
        return self.context.total

    def workload(self, name: str | None) -> Workload:
        """Return a Deployment as observed; one that was not seen does not exist."""
        return self.context.workload(name)

    @property
    def candidate_name(self) -> str | None:
        """The Deployment that spec.candidate stands for."""
        return self.context.candidate_name

    @property
    def stable(self) -> Workload:
        """The Deployment in charge."""
        return self.context.stable

    @property
    def candidate(self) -> Workload:
        """The candidate of the run."""
        return self.context.candidate
