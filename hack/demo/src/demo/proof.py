"""What was proved, from what was recorded: the load generator's counts, the endpoints, Prometheus itself."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from demo import manifests, scenario
from demo.api import Api
from demo.endpoints import EndpointRecorder
from demo.errors import DemoError
from demo.lab import Lab
from demo.play import Played
from modelrollout.api.spec import ModelRolloutSpec
from modelrollout.prometheus import QueryContext, build_rollout

INTERVAL: Final = 1.0
"""Seconds between two scrapes, and between two evaluations: a `for` is measured no finer than this."""
STEP: Final = 0.1
"""Resolution of the look into Prometheus, in seconds; it scrapes once a second."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was to be proved, whether it was, and the figure."""

    claim: str
    proved: bool
    figure: str


@dataclass(frozen=True, kw_only=True)
class Reaction:
    """From the first bad value in Prometheus to when no client could reach the candidate, in seconds."""

    bad_at: float
    gone_at: float

    @property
    def seconds(self) -> float:
        """The time between."""
        return self.gone_at - self.bad_at


def findings(lab: Lab, played: list[Played], endpoints: EndpointRecorder) -> list[Finding]:
    """Everything that the demo has to prove, in the order in which it happened."""
    found = [_lost(played), _capacity(lab, played, endpoints)]
    for one in played:
        if one.act.criterion is None:
            found.append(_succeeded(one))
        else:
            found += _taken_back(lab, one, endpoints)
    return found


def _lost(played: list[Played]) -> Finding:
    last = played[-1].after
    sent = int(last.load.get("sent", 0))
    reasons = {key: last.load.get(key) for key in ("lost", "by_status") if last.lost}
    figure = f"{last.lost} of {sent:,}" + (f" {json.dumps(reasons)}" if last.lost else "")
    return Finding(
        claim="No request was lost, in all three rollouts", proved=last.lost == 0 and sent > 0, figure=figure
    )


def _capacity(lab: Lab, played: list[Played], endpoints: EndpointRecorder) -> Finding:
    """During a promotion there are never fewer ready pods than asked for (maxUnavailable is 0)."""
    promotion = next(one for one in played if one.act.criterion is None)
    during = [r.total for r in endpoints.since(promotion.started) if r.at <= promotion.ended]
    fewest = min(during, default=0)
    wanted = lab.options.replicas
    return Finding(
        claim="Never fewer pods ready than asked for while promoting",
        proved=fewest >= wanted,
        figure=f"{fewest} of {wanted} at least, in {len(during)} looks",
    )


def _succeeded(one: Played) -> Finding:
    stable = one.after.status.get("stable")
    share = one.served_by("1.1")
    return Finding(
        claim="The better model serves everything",
        proved=stable == one.act.deployment and share > 0,
        figure=f"stable is {stable}; {share:,} requests answered by it on the way",
    )


def _taken_back(lab: Lab, one: Played, endpoints: EndpointRecorder) -> list[Finding]:
    act = one.act
    reaction = measure(lab, one, endpoints)
    held = f" (its `for`: {act.held_seconds:g} s)" if act.held_seconds else ""
    stable = one.after.status.get("stable")
    heaviest = max(
        (
            100 * r.ready[act.deployment] / r.total
            for r in endpoints.since(one.started)
            if r.total and r.at <= one.ended
        ),
        default=0.0,
    )
    return [
        Finding(
            claim=f"{act.criterion} rolled {act.deployment} back",
            proved=stable != act.deployment and reaction.seconds >= act.held_seconds - INTERVAL,
            figure=f"{reaction.seconds:.1f} s from a bad value in Prometheus to no candidate endpoint{held}",
        ),
        Finding(
            claim="It went no further than the first step",
            proved=0 < heaviest <= _first_step_share(lab),
            figure=f"{heaviest:.0f} % of the endpoints at most",
        ),
    ]


def _first_step_share(lab: Lab) -> float:
    """Per cent that the first step means with whole pods, one pod in transit allowed for."""
    weight = int(scenario.SPEC["steps"][0]["weight"])
    return 100 * max(1, round(lab.options.replicas * weight / 100)) / (lab.options.replicas - 1)


def measure(lab: Lab, one: Played, endpoints: EndpointRecorder) -> Reaction:
    """Return how long it took, by Prometheus' own data and the recorded endpoints.

    Raises:
        DemoError: Prometheus never had a bad value, or the candidate still has endpoints.
    """
    assert one.act.criterion is not None
    bad_at = first_breach(lab, one)
    gone_at = endpoints.gone_at(one.act.deployment, after=one.started)
    if bad_at is None or gone_at is None:
        missing = "a bad value in Prometheus" if bad_at is None else f"{one.act.deployment} without endpoints"
        raise DemoError(expected=missing, seen="there was none in this act", details=lab.details())
    return Reaction(bad_at=bad_at, gone_at=gone_at)


def first_breach(lab: Lab, one: Played, *, counted: bool = True) -> float | None:
    """When the criterion's own query first yielded a value beyond its limit.

    `counted`: Only with as many samples as it takes for a verdict. `for` counts from the value alone.
    """
    spec = ModelRolloutSpec.model_validate(lab.rollout()["spec"])
    criterion = next(c for c in spec.criteria if c.name == one.act.criterion)
    assert criterion.max is not None
    context = QueryContext(
        namespace=manifests.DEMO_NAMESPACE,
        rollout=scenario.ROLLOUT,
        candidate=one.act.deployment,
        stable=one.after.status.get("stable"),
    )
    query = build_rollout("demo", "default", [criterion], context).queries[criterion.name]
    promql = f"({query.value}) > {criterion.max.value!r}"
    if counted and query.count is not None and criterion.min_samples:
        promql = f"({promql}) and on () (({query.count}) >= {criterion.min_samples})"
    points = range_query(lab.api, promql, start=one.started, end=one.ended)
    return min((at for at, _ in points), default=None)


def range_query(api: Api, promql: str, *, start: float, end: float) -> list[tuple[float, float]]:
    """Return times and values of the one series of a query."""
    query = urlencode({"query": promql, "start": f"{start:.3f}", "end": f"{end:.3f}", "step": f"{STEP:g}"})
    text = api.service(
        manifests.MONITORING_NAMESPACE,
        "prometheus",
        manifests.PROMETHEUS_PORT,
        f"/api/v1/query_range?{query}",
    )
    result = json.loads(text)["data"]["result"]
    return [(float(at), float(value)) for series in result for at, value in series["values"]]
