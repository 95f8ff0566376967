"""Validation Jobs: one per step and run, by a name that cannot exist twice.

The order that makes it exactly once: the entry (Pending, with the Job's name) is in status before the Job is
made. After a crash between the two the entry is still Pending and no Job is there, so the same name is asked
for again. Once the Job has been seen, its entry is Running: if it then vanishes it is never run again.
"""

from __future__ import annotations

from modelrollout.api.conditions import Phase, Reason
from modelrollout.api.schedule import Transition as Announcement
from modelrollout.api.status import PauseStatus, ValidationState, ValidationStatus
from modelrollout.decision.draft import Draft
from modelrollout.decision.names import job_name
from modelrollout.decision.types import JobRequest, JobState
from modelrollout.decision.validation import OPEN, latest_entries, validations_before

_BAD = (ValidationState.FAILED, ValidationState.TIMED_OUT)
_KEPT = 100
"""Entries of the run kept in status."""


def begin(draft: Draft, step: int) -> None:
    """Put an entry for every validation before that step that has none, or whose last attempt failed."""
    spec, status = draft.spec, draft.status
    entries = latest_entries(status, step)
    added = []
    for validation in validations_before(spec, step):
        last = entries.get(validation.name)
        if last is not None and last.state not in _BAD:
            continue
        run = draft.run.id
        same = [e for e in status.validations if (e.name, e.run, e.step) == (validation.name, run, step)]
        job = job_name(draft.observed.name, run, step, validation.name, len(same) + 1)
        added.append(
            ValidationStatus(
                name=validation.name, run=run, step=step, job=job,
                state=ValidationState.PENDING, started_at=draft.now,
            )
        )  # fmt: skip
    if added:
        draft.set(validations=(*status.validations, *added)[-_KEPT:])
        names = ", ".join(entry.name for entry in added)
        draft.say(Reason.VALIDATING, f"Running {names} before step {step + 1} of {len(spec.steps)}.")


def follow(draft: Draft, step: int) -> None:
    """Take over what the Jobs say; a failed or late one stops the run where it is."""
    entries = latest_entries(draft.status, step)
    changed: dict[str, ValidationStatus] = {}
    for entry in entries.values():
        if entry.state in OPEN:
            new = _followed(draft, entry)
            if new != entry:
                changed[entry.job] = new
    if not changed:
        return
    draft.set(validations=tuple(changed.get(entry.job, entry) for entry in draft.status.validations))
    for new in changed.values():
        if new.state is ValidationState.SUCCEEDED:
            text = f"Validation {new.name} succeeded before step {step + 1}."
            draft.say(Reason.VALIDATION_SUCCEEDED, text)
        elif new.state is ValidationState.IMAGE_PULL_FAILED:
            text = f"Validation {new.name} cannot start: {new.message}"
            draft.say(Reason.IMAGE_PULL_FAILED, text, warning=True, announcement=Announcement.WARNING)
    failed = [new for new in changed.values() if new.state in _BAD]
    if failed:
        _stop(draft, failed, step)


def _followed(draft: Draft, entry: ValidationStatus) -> ValidationStatus:
    """Return the entry after a look at its Job."""
    result = draft.observed.jobs.get(entry.job)
    state = result.state if result else JobState.ABSENT
    message = (result.message if result else "")[:4096]
    if state is JobState.SUCCEEDED:
        return _ended(draft, entry, ValidationState.SUCCEEDED, "")
    if state is JobState.FAILED:
        return _ended(draft, entry, ValidationState.FAILED, message or "The Job failed and left no log.")
    if state is JobState.ABSENT and entry.state is not ValidationState.PENDING:
        gone = "The Job was removed before its result was seen; it is not run twice by itself."
        return _ended(draft, entry, ValidationState.FAILED, gone)
    spec = draft.spec
    validation = next((v for v in spec.validations if v.name == entry.name), None)
    if validation is not None and entry.started_at is not None:
        late = draft.now - entry.started_at >= validation.timeout.timedelta
        if late:
            draft.delete_jobs.append(entry.job)
            text = f"The Job did not finish within its timeout of {validation.timeout}. {message}".strip()
            return _ended(draft, entry, ValidationState.TIMED_OUT, text)
    if state is JobState.RUNNING:
        seen = ValidationState.IMAGE_PULL_FAILED if message else ValidationState.RUNNING
        return entry.model_copy(update={"state": seen, "message": message})
    return entry


def _ended(draft: Draft, entry: ValidationStatus, state: ValidationState, message: str) -> ValidationStatus:
    return entry.model_copy(update={"state": state, "message": message[:4096], "finished_at": draft.now})


def _stop(draft: Draft, failed: list[ValidationStatus], step: int) -> None:
    """Pause for a failed validation: the weight stays, a person decides."""
    shown = "; ".join(f"{entry.name}: {entry.message}" for entry in failed)
    weight = draft.spec.steps[step].weight
    text = (
        f"Validation before step {step + 1} ({weight}%) failed: {shown} "
        "(resume runs it again, promote goes on without it, abort goes back)"
    )
    pause = PauseStatus(
        at=draft.now,
        phase=draft.rules.phase,
        reason=Reason.VALIDATION_FAILED,
        message=text[:4096],
    )
    draft.set(pause=pause)
    draft.enter(Phase.PAUSED, Reason.VALIDATION_FAILED, text)
    draft.say(Reason.VALIDATION_FAILED, text, warning=True, announcement=Announcement.PAUSED)


def job_requests(draft: Draft) -> tuple[JobRequest, ...]:
    """Return jobs that status asks for and that are not there yet."""
    status = draft.status
    if status.run is None or status.run.finished_at is not None or status.rollback is not None:
        return ()
    return tuple(
        JobRequest(name=entry.job, validation=entry.name, step=entry.step)
        for entry in status.validations
        if entry.run == status.run.id
        and entry.state is ValidationState.PENDING
        and (entry.job not in draft.observed.jobs or draft.observed.jobs[entry.job].state is JobState.ABSENT)
    )


def cancel_all(draft: Draft, why: str = "The run ended first.") -> None:
    """End the Jobs whose answers no longer matter: the run ends, or has gone on without them."""
    late = [entry for entry in draft.status.validations if entry.state in OPEN]
    if not late:
        return
    draft.delete_jobs.extend(entry.job for entry in late)
    ended = {entry.job: _ended(draft, entry, ValidationState.FAILED, why) for entry in late}
    draft.set(validations=tuple(ended.get(entry.job, entry) for entry in draft.status.validations))
