"""Words of docs/reference.md that are not descriptions of fields."""

# ruff: noqa: E501 - a row of a Markdown table is one line

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from modelrollout.api.conditions import ConditionType, Phase

INTRODUCTION: Final = """\
# Reference of the resource ModelRollout

Generated from the schema by `make generate`; do not edit. The same text is in the cluster:
`kubectl explain mro.spec.criteria`. Complete examples are in [samples/](../samples/).

A manifest that breaks one of the rules below is refused by the API server with the rule's sentence.
`kubectl modelrollout lint FILE` says the same without a cluster, and also what a schema cannot compare
(marked *lint*); the operator says those in the Ready condition, with phase Invalid, and changes nothing.
"""

UNITS: Final = """\
## Texts with a unit

| kind | examples | meaning |
|---|---|---|
| duration | `30s`, `10m`, `1h30m`, `7d`, `200ms`, `0` | days have 24 hours; at most 366d |
| quantity | `0.02`, `2%`, `200ms`, `1Gi`, `5e-3` | a number in base units: `2%` is 0.02, `200ms` is 0.2 seconds, `1Gi` is 1073741824 |
| number or percentage | `2`, `25%` | pods, or a share of `spec.replicas` |

In `compare`, `20%` means relative to the other value, and a number without the sign an absolute difference.

## Variables in queries

| variable | becomes |
|---|---|
| `${candidatePods}` | a regular expression for the names of the candidate's pods; of stable's where stable is measured |
| `${stablePods}` | the same for stable |
| `${namespace}` | the namespace of the ModelRollout |
| `${window}` | the criterion's `window`, or `baseline.window` where the baseline is recorded |

`$${` stands for a literal `${`. A query must yield one number: one series or a scalar. No series and NaN are NoData;
several series are an Error.
"""

PHASES: Final[Mapping[Phase, str]] = MappingProxyType(
    {
        Phase.IDLE: "Stable serves everything and there is nothing to roll out.",
        Phase.VALIDATING: "Validation Jobs run before an increase, or the baseline is recorded.",
        Phase.SHADOW: "The candidate gets copies of requests; clients only see stable's answers.",
        Phase.PROGRESSING: "A step is under way.",
        Phase.PAUSED: "Held, by a person, by `spec.paused`, by a criterion or for an approval.",
        Phase.OBSERVING: "The candidate serves everything; a breach still brings stable back.",
        Phase.SUCCEEDED: "The candidate is the stable version now.",
        Phase.ROLLING_BACK: "Traffic returns to stable.",
        Phase.ROLLED_BACK: "Stable serves everything; the candidate is not tried again by itself.",
        Phase.INVALID: "Something that is asked for cannot be done; the Ready condition says what.",
    }
)

CONDITIONS: Final[Mapping[ConditionType, str]] = MappingProxyType(
    {
        ConditionType.READY: "One version serves everything as asked, and nothing is under way.",
        ConditionType.RECONCILING: "Something is under way (kstatus: InProgress).",
        ConditionType.STALLED: "Nothing goes on without a person (kstatus: Failed).",
        ConditionType.PROGRESSING: "A run is under way and not held.",
        ConditionType.HEALTHY: "No criterion is breached.",
        ConditionType.METRICS_AVAILABLE: "Prometheus answers and every criterion has data.",
        ConditionType.WEIGHT_REACHED: "The observed weight is the desired one, as nearly as whole pods allow.",
        ConditionType.STABLE_KEPT: "Only in phase Observing: stable's pods run outside the Service.",
        ConditionType.FOREIGN_ENDPOINTS: "Only while true: the Service reaches pods of neither version.",
        ConditionType.UNEVEN_TRAFFIC: "Only while true: the Service spreads requests unevenly over its pods.",
        ConditionType.CACHE_STALE: "Only while true: the operator cannot see the cluster as it is now.",
        ConditionType.CLOCK_IN_SYNC: "Only while it is not True: clocks of node and API server differ.",
        ConditionType.STABLE_EDITED: "Only after stable's pod template was changed in place at rest, until the next run.",
        ConditionType.PAUSED: "The run is held.",
        ConditionType.SUCCEEDED: "The last run ended with the candidate in charge.",
        ConditionType.ROLLED_BACK: "The last run ended with stable in charge.",
    }
)
