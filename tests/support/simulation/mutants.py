"""Mended defects, put back one at a time: within how many seeds does the simulation find each?

`make simulate-mutants` runs all of them. A mutant replaces one function of the operator by what it did before
the mend; the numbers are those of issue 12.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.support.simulation import clock
from tests.support.simulation.__main__ import Found, prepare, reproducible, run_one

MOST_SEEDS = 2000
Replacement = tuple[object, str, Any]
"""Whose attribute, its name, and what it becomes."""


@dataclass(frozen=True)
class Mutant:
    """One defect put back.

    Attributes:
        what: What goes wrong, as a person would say it.
        invariants: Which of them may find it.
        replace: What is replaced, made when the operator has been loaded.
    """

    defect: str
    what: str
    invariants: frozenset[str]
    replace: Callable[[], list[Replacement]]


def _by_name() -> list[Replacement]:
    """1: the Deployment of the previous version is that version, whatever its pod template has become."""
    from modelrollout.decision import versions

    return [(versions, "was_stable", lambda draft, name: name == draft.status.previous_stable)]


def _keeps_weight() -> list[Replacement]:
    """2: a pod template that changes in mid-run keeps the weight that the one before it earned."""
    from modelrollout.decision import versions

    return [(versions, "candidate_changed", lambda _: False)]


def _own_clock() -> list[Replacement]:
    """22: each operator goes by the clock of its own machine."""
    from modelrollout.cluster.clock import ServerClock

    return [(ServerClock, "observe", lambda self, date, *, sent, received: None)]


def _told_from_memory() -> list[Replacement]:
    """24: only the process that decided a transition tells it."""
    from modelrollout.operator import reconcile

    def tell(self: Any, rollout: Any, observation: Any, real: Any = reconcile.Reconciler._decide_on) -> Any:
        decision = real(self, rollout, observation)
        known = vars(self).setdefault("decided_here", set())
        before = {entry.id for entry in rollout.status.unreported}
        known.update(entry.id for entry in decision.status.unreported if entry.id not in before)
        rollout.reported.update(before - known)  # as if it had been told
        return decision

    return [(reconcile.Reconciler, "_decide_on", tell)]


def _by_beginning() -> list[Replacement]:
    """7: a pod belongs to the first Deployment with whose name its own begins."""
    from modelrollout.cluster.cache import ClusterCache

    def deployment_of(self: Any, namespace: str, pod: str) -> str | None:
        names = sorted(view.name for view in self.deployments if view.namespace == namespace)
        return next((name for name in names if pod.startswith(f"{name}-")), None)

    return [(ClusterCache, "_deployment_of", deployment_of)]


def _takes_deployments() -> list[Replacement]:
    """Scenario 38: a ModelRollout rolls out a Deployment that another one has."""
    from modelrollout.operator.rollouts import RolloutStore

    return [(RolloutStore, "holder", lambda *_: None)]


def _blind_to_autoscalers() -> list[Replacement]:
    """An autoscaler on one of the Deployments is not seen."""
    from modelrollout.cluster.cache import ClusterCache

    return [(ClusterCache, "autoscaler", lambda *_: None)]


def _repeat_without_lease() -> list[Replacement]:
    """20: the lease is asked for before the first attempt and for none of its repetitions."""
    from modelrollout.cluster.fence import FencedApi

    real = FencedApi.request

    async def request(self: Any, method: str, path: str, **options: Any) -> Any:
        if method == "GET":
            return await real(self, method, path, **options)
        self._leadership.require()
        return await self._api.request(method, path, **options)

    return [(FencedApi, "request", request)]


def _lease_at_once() -> list[Replacement]:
    """21: who finds no Lease makes one and acts under it at once."""
    from modelrollout.cluster.leader_election import Elector

    async def create(self: Any, real: Any = Elector._create) -> None:
        await real(self)
        self._leadership.extend(clock.monotonic() + self._settings.renew_seconds)

    def stop(self: Any, why: str, real: Any = Elector._stop_acting) -> None:
        if "Lease is gone" not in why and not self._leadership.held:
            real(self, why)

    old_enough = lambda self, lease, now: True  # noqa: E731
    return [
        (Elector, "_old_enough", old_enough),
        (Elector, "_create", create),
        (Elector, "_stop_acting", stop),
    ]


def _last_command() -> list[Replacement]:
    """23: a second command replaces one that nobody has looked at yet."""
    from modelrollout.operator import rollouts

    def parse(annotations: Any, real: Any = rollouts.parse_commands) -> Any:
        commands, error = real(annotations)
        return commands[-1:], error

    return [(rollouts, "parse_commands", parse)]


def _without_ports() -> list[Replacement]:
    """5: endpoints count although the Service's ports do not lead to them."""
    from modelrollout.cluster import cache

    def count(slices: Any, ports: Any, deployment_of: Any, real: Any = cache.count) -> Any:
        return real(slices, (), deployment_of)

    return [(cache, "count", count)]


def _blind_to_others() -> list[Replacement]:
    """8: pods of other workloads behind the Service are not counted."""
    from modelrollout.operator import observe

    return [(observe, "_foreign", lambda *_: ())]


def _takes_names() -> list[Replacement]:
    """17: a Service of somebody else is changed as if it were ours."""
    from dataclasses import replace

    from modelrollout.cluster.workloads.shadow import SideKeeper

    async def ensure(self: Any, name: str, role: str, selector: Any, *, client: str, owner: Any) -> None:
        there = self._cache.services.get(owner.namespace, name)
        if there is not None:
            owner = replace(owner, uid=there.owner)
        await real(self, name, role, selector, client=client, owner=owner)

    real = SideKeeper._ensure_service
    return [(SideKeeper, "_ensure_service", ensure)]


def _partial_answers() -> list[Replacement]:
    """25: an answer that comes with warnings counts."""
    from modelrollout.prometheus import session

    return [(session, "refuse_partial", lambda _: None)]


def _old_answers() -> list[Replacement]:
    """34: an answer from before the end of the step counts."""
    from modelrollout.decision import waiting

    return [(waiting, "freshness_blocker", lambda *_: None)]


def _asked_never_again() -> list[Replacement]:
    """What the simulation found: in an outage a question that is asked alone is not asked any more."""
    from modelrollout.prometheus.request_queue import RequestQueue

    def ask(self: Any, batch: Any, joins: bool, known: Any) -> Any:
        if not joins and self._outage is not None:
            raise self._outage
        return self._asker.ask([each.questions for each in batch])

    return [(RequestQueue, "_ask", ask)]


def _mutant(defect: str, what: str, invariants: str, replace: Callable[[], list[Replacement]]) -> Mutant:
    return Mutant(defect, what, frozenset(invariants.split()), replace)


MUTANTS: Mapping[str, Mutant] = {
    "by-name": _mutant("1", "a changed Deployment counts as the previous version", "template", _by_name),
    "keeps-weight": _mutant("2", "another template keeps the weight in mid-run", "template", _keeps_weight),
    "by-beginning": _mutant(
        "7", "pods are told apart by the beginning of their names", "reached capacity settled", _by_beginning
    ),
    "takes-deployments": _mutant(
        "s38", "two ModelRollouts have one Deployment", "claims", _takes_deployments
    ),
    "blind-to-autoscalers": _mutant("", "an autoscaler is not seen", "autoscaler", _blind_to_autoscalers),
    "own-clock": _mutant("22", "steps are timed by the clock of each machine", "early", _own_clock),
    "told-from-memory": _mutant("24", "a crash after the status loses an Event", "told", _told_from_memory),
    "without-ports": _mutant(
        "5", "endpoints without the Service's ports count", "reached capacity settled", _without_ports
    ),
    "blind-to-others": _mutant("8", "other workloads' pods are not seen", "reached", _blind_to_others),
    "takes-names": _mutant("17", "somebody else's Service is changed", "foreign", _takes_names),
    "partial-answers": _mutant("25", "partial answers count", "data", _partial_answers),
    "old-answers": _mutant("34", "answers from before a step's end count", "fresh data", _old_answers),
    "asked-never-again": _mutant("new", "a criterion is never asked again", "breach", _asked_never_again),
    "last-command": _mutant("23", "abort, then promote: the abort is lost", "commands", _last_command),
    "lease-at-once": _mutant("21", "a deleted Lease gives two leaders", "fence", _lease_at_once),
    "repeat-without-lease": _mutant(
        "20", "writes are repeated after the lease is lost", "fence", _repeat_without_lease
    ),
}


@contextmanager
def applied(mutant: Mutant) -> Iterator[None]:
    """Put a defect back for a while."""
    replaced = [(owner, name, getattr(owner, name), new) for owner, name, new in mutant.replace()]
    try:
        for owner, name, _, new in replaced:
            setattr(owner, name, new)
        yield
    finally:
        for owner, name, old, _ in replaced:
            setattr(owner, name, old)


def search(mutant: Mutant, *, seeds: int, jobs: int) -> tuple[int, str] | None:
    """The first seed that finds it, counted from 1, and what it says; None: none of them does."""
    with applied(mutant), multiprocessing.get_context("fork").Pool(jobs, maxtasksperchild=1) as pool:
        found: Found
        for count, found in enumerate(pool.imap(run_one, range(seeds), chunksize=1), start=1):
            for name, text in found[2]:
                if name in mutant.invariants:
                    return count, text
    return None


def main() -> int:
    """The command; 1 if a mutant lives."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.simulation.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"some of {', '.join(MUTANTS)}; by default all")
    parser.add_argument("--seeds", type=int, default=MOST_SEEDS)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    reproducible("tests.support.simulation.mutants")
    prepare()
    alive = 0
    for name in options.names or MUTANTS:
        mutant = MUTANTS[name]
        found = search(mutant, seeds=options.seeds, jobs=options.jobs)
        alive += found is None
        result = (
            f"found by seed {found[0] - 1}: {found[1]}" if found else f"not found in {options.seeds} seeds"
        )
        sys.stdout.write(f"{mutant.defect:>3} {name} ({mutant.what}): {result}\n")
        sys.stdout.flush()
    return 1 if alive else 0


if __name__ == "__main__":
    raise SystemExit(main())
