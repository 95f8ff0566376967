"""Plays one act: starts the rollout as a user would, shows what happens, and waits for how it has to end."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

from demo import scenario, view
from demo.api import ApiError, Json
from demo.console import Narrator
from demo.errors import DemoError
from demo.lab import Lab
from demo.snapshot import Observer, Snapshot

REFRESH: Final = 0.25
PLAIN_EVERY: Final = 5.0
FINISHED: Final = frozenset({"Succeeded", "RolledBack", "Invalid", "Idle"})
SILENCE: Final = 30.0


@dataclass(frozen=True, kw_only=True)
class Played:
    """What an act came to: first and last moment, and when they were (seconds since the epoch)."""

    act: scenario.Act
    before: Snapshot
    after: Snapshot
    started: float
    ended: float

    def served_by(self, version: str) -> int:
        """Return the requests of this act that the model `version` answered, as the server reports it."""
        counts = [moment.load.get("by_version", {}).get(version, 0) for moment in (self.before, self.after)]
        return int(counts[1]) - int(counts[0])


class Player:
    """Plays acts in a lab."""

    def __init__(self, lab: Lab, narrator: Narrator) -> None:
        self._lab = lab
        self._narrator = narrator
        self._observer = Observer(lab)
        self._told: tuple[str, str, str] = ("", "", "")
        self._last_line = 0.0

    def play(self, act: scenario.Act) -> Played:
        """Play an act to its end.

        Raises:
            DemoError: It ended otherwise than it has to, or not in time.
        """
        self._narrator.title(act.title)
        self._narrator.say(act.story)
        before, started = self._observer.take(), time.time()
        self._narrator.say(f"kubectl patch mro {scenario.ROLLOUT}: candidate is {act.deployment}", "bold")
        self._lab.patch_candidate(act.deployment)
        after = self._watch(act)
        played = Played(act=act, before=before, after=after, started=started, ended=time.time())
        self._check(played)
        return played

    def _watch(self, act: scenario.Act) -> Snapshot:
        began = heard = time.monotonic()
        now: Snapshot | None = None
        with self._narrator.view() as live:
            while time.monotonic() - began < act.seconds:
                try:
                    now, heard = self._observer.take(), time.monotonic()
                except ApiError as error:
                    if time.monotonic() - heard > SILENCE:
                        raise self._failure(
                            f"an answer of the cluster within {SILENCE:.0f} s", str(error)
                        ) from error
                    time.sleep(REFRESH)
                    continue
                self._tell(now)
                if live is not None:
                    live.update(view.panel(act.title, self._narrator.elapsed(), now), refresh=True)
                if now.phase in FINISHED:
                    break
                time.sleep(REFRESH)
        if now is None or now.phase not in FINISHED:
            seen = view.line(now) if now else "nothing could be read"
            raise self._failure(
                f"{act.deployment} to end in phase {act.phase} within {act.seconds:.0f} s", seen
            )
        self._narrator.show(view.panel(act.title, self._narrator.elapsed(), now))
        return now

    def _tell(self, now: Snapshot) -> None:
        """One line for each change, and without a terminal one every few seconds."""
        status: Json = now.status
        step = (status.get("step") or {}).get("progress", "")
        state = (now.phase, step, str(status.get("reason", "")))
        if state != self._told and now.phase != "Unknown":
            self._told = state
            what = f"{now.phase} {step}".strip()
            self._narrator.say(f"{what}: {view.message(now)}", view.PHASE_STYLES.get(now.phase, ""))
        due = time.monotonic() - self._last_line > PLAIN_EVERY and now.phase != "Unknown"
        if due and not self._narrator.live:
            self._last_line = time.monotonic()
            self._narrator.say(view.line(now))

    def _check(self, played: Played) -> None:
        act, status = played.act, played.after.status
        if played.after.phase != act.phase:
            raise self._failure(
                f"{act.deployment} to end in phase {act.phase}",
                f"it is {played.after.phase} ({status.get('reason')}): {status.get('message')}",
            )
        criterion = (status.get("rollback") or {}).get("criterion")
        if act.criterion is not None and criterion != act.criterion:
            raise self._failure(f"the criterion {act.criterion} to roll it back", f"it was {criterion}")

    def _failure(self, expected: str, seen: str) -> DemoError:
        return DemoError(expected=expected, seen=seen, details=self._lab.details())
