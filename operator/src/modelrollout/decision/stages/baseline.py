"""Baseline: stable is measured before the candidate gets anything, for the criteria that compare with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from modelrollout.api.conditions import Phase, Reason
from modelrollout.api.spec import Baseline
from modelrollout.api.status import BaselineStatus, RunStatus
from modelrollout.decision.context import Blocker, Context, Stage, baseline_binds, baseline_criteria
from modelrollout.decision.limits import is_finite, special_text
from modelrollout.decision.measured import Evaluation, Lacking
from modelrollout.decision.stages.base import BeginValidations, Next, RunRules, Tracked
from modelrollout.decision.types import Sample, SampleState


@dataclass(frozen=True, kw_only=True, slots=True)
class BaselineStage(RunRules):
    """Over as soon as every value that the run needs is recorded."""

    kind = Stage.BASELINE
    phase = Phase.VALIDATING
    no_promotion = "the baseline is being recorded; without it the comparisons have nothing"
    wanted: Baseline

    @classmethod
    def of(cls, context: Context, run: RunStatus) -> Self | None:
        """Return the stage where a baseline is asked for and not recorded yet."""
        spec = context.spec
        if spec.baseline is None or run.baseline_at is not None or run.skip_analysis:
            return None
        return cls(context=context, run=run, wanted=spec.baseline) if baseline_criteria(spec) else None

    def record(self) -> Tracked | Blocker:
        """Return what stable measured, or what is still missing of it."""
        now, entries, missing = self.context.now, [], []
        for criterion in baseline_criteria(self.context.spec):
            sample = self.context.observed.baselines.get(criterion.name)
            wanted = max(self.wanted.min_samples, criterion.min_samples)
            why = _unusable(sample, wanted)
            if not why and sample is not None and sample.value is not None:
                entries.append(
                    BaselineStatus(
                        criterion=criterion.name, value=sample.value, samples=sample.count, recorded_at=now
                    )
                )
            elif sample is None or baseline_binds(criterion):
                missing.append(f"{criterion.name} ({why})")
        if missing:
            text = f"the baseline of stable over {self.wanted.window}: {'; '.join(missing)}"
            return Blocker(reason=Reason.RECORDING_BASELINE, message=text)
        run = self.run.model_copy(update={"baseline_at": now, "stage_at": now})
        return Tracked(
            changes={"run": run, "baseline": tuple(entries)},
            reason=Reason.RECORDING_BASELINE,
            message=f"Recorded the baseline of stable for {len(entries)} criteria.",
        )

    def lacking(self, evaluation: Evaluation | None) -> Lacking | None:
        """Return what Prometheus has not told of stable; None before it was asked."""
        del evaluation  # nothing is measured on the candidate yet
        if not self.context.observed.baselines:
            return None
        texts, failed = [], False
        for criterion in baseline_criteria(self.context.spec):
            sample = self.context.observed.baselines.get(criterion.name)
            if sample is not None and sample.state is not SampleState.VALUE and baseline_binds(criterion):
                failed = failed or sample.state is SampleState.ERROR
                texts.append(sample.message or f"criterion {criterion.name}: no data")
        return Lacking(failed=failed, texts=tuple(texts))

    def blockers(self, evaluation: Evaluation | None) -> Iterator[Blocker]:
        """Yield that the baseline is missing: once it is there, the run is in another stage."""
        del evaluation
        yield Blocker(reason=Reason.RECORDING_BASELINE, message="the baseline of stable")

    def next(self) -> Next:
        """Return the first validations; not asked, because what it records moves the run on."""
        return BeginValidations()


def _unusable(sample: Sample | None, wanted: int) -> str:
    """Return why a sample is no baseline; empty if it is one. Nothing that moves by itself goes in."""
    if sample is None:
        return "not measured yet"
    if sample.state is not SampleState.VALUE or sample.value is None:
        return sample.message or "no data"
    if not is_finite(sample.value):
        return f"its value is {special_text(sample.value)}, with which nothing can be compared"
    if wanted and (sample.count is None or sample.count < wanted):
        return f"fewer than {wanted} samples"
    return ""
