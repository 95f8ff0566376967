"""From the criteria of a rollout to PromQL, once per change of the spec or of the versions compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from modelrollout.api.criteria import CompareTo, Criterion
from modelrollout.api.durations import format_duration
from modelrollout.prometheus.errors import TemplateError
from modelrollout.prometheus.presets import PresetQuery, preset_query
from modelrollout.prometheus.templating import QueryContext, render, variables

FRESHNESS: Final = (
    'max(timestamp(up{namespace="${namespace}",pod=~"${candidatePods}"})'
    ' and up{namespace="${namespace}",pod=~"${candidatePods}"} == 1)'
)
"""When the newest successful scrape of a candidate pod was made, in seconds since the epoch of Prometheus'
clock."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CriterionQuery:
    """What is asked for one criterion; every text is complete PromQL.

    Attributes:
        name: The criterion's.
        value: Yields the value.
        count: Yields the number of samples behind it, or None.
        stable_value: The same as `value` on stable's pods, for `compare: {to: Stable}`, else None.
        stable_count: The same as `count` on stable's pods, else None.
        for_seconds: How far back a breach has to be confirmed.
        min_samples: With fewer samples a point of the past has no value.
    """

    name: str
    value: str
    count: str | None = None
    stable_value: str | None = None
    stable_count: str | None = None
    for_seconds: float = 0.0
    min_samples: int = 0

    @property
    def parts(self) -> tuple[tuple[str, str], ...]:
        """What to ask, each with the letter under which its answer is filed."""
        every = (("v", self.value), ("n", self.count), ("r", self.stable_value), ("m", self.stable_count))
        return tuple((letter, promql) for letter, promql in every if promql is not None)


@dataclass(frozen=True, kw_only=True, eq=False)
class RolloutQueries:
    """Everything one rollout asks. Compared by identity: build it anew when something changed, else keep it.

    Attributes:
        key: Identifies the rollout for as long as it exists (its uid).
        target: Which server is asked (`spec.prometheus.name`).
        queries: By name of the criterion.
        problems: Why a criterion has no query, by its name; one sentence each.
        freshness: PromQL for the time of the newest scrape of the pods measured.
    """

    key: str
    target: str
    queries: Mapping[str, CriterionQuery]
    problems: Mapping[str, str]
    freshness: str


def build_rollout(
    key: str,
    target: str,
    criteria: Iterable[Criterion],
    context: QueryContext,
    *,
    window: float | None = None,
) -> RolloutQueries:
    """Return the queries of a rollout; what cannot be built is a problem of that criterion alone.

    Args:
        key: Identifies the rollout, such as its uid.
        target: Name of the server in the operator's settings.
        criteria: Those of the current phase.
        context: What the names in the queries stand for.
        window: Seconds to use instead of each criterion's own window, for a baseline.
    """
    queries: dict[str, CriterionQuery] = {}
    problems: dict[str, str] = {}
    for criterion in criteria:
        try:
            queries[criterion.name] = build_query(criterion, context, window=window)
        except TemplateError as error:
            problems[criterion.name] = f"criterion {criterion.name}: {error}"
    freshness = render(FRESHNESS, variables(context, "5m", {}))
    return RolloutQueries(key=key, target=target, queries=queries, problems=problems, freshness=freshness)


def build_query(
    criterion: Criterion, context: QueryContext, *, window: float | None = None
) -> CriterionQuery:
    """Return the query of one criterion.

    Raises:
        TemplateError: An unknown name or argument, or a comparison without a stable version.
    """
    templates = _templates(criterion)
    length = format_duration(criterion.window.seconds if window is None else window)

    def on(side: QueryContext) -> tuple[str, str | None]:
        names = variables(side, length, criterion.args)
        count = None if templates.count is None else render(templates.count, names)
        return render(templates.value, names), count

    value, count = on(context)
    compares = criterion.compare is not None and criterion.compare.to is CompareTo.STABLE
    stable_value, stable_count = on(context.on_stable()) if compares else (None, None)
    return CriterionQuery(
        name=criterion.name,
        value=value,
        count=count,
        stable_value=stable_value,
        stable_count=stable_count,
        for_seconds=criterion.for_.seconds,
        min_samples=criterion.min_samples,
    )


def _templates(criterion: Criterion) -> PresetQuery:
    if criterion.preset is not None:
        return preset_query(criterion.preset, criterion.args)
    if criterion.query is None:
        raise TemplateError("neither preset nor query is given")
    return PresetQuery(value=criterion.query, count=criterion.samples_query)
