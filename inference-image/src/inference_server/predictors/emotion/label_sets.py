"""What the metrics of the emotion classifier may carry: routes, fallback reasons, rules."""

from __future__ import annotations

from typing import Final

from inference_server.predictors.kinds import LabelSets

ROUTE_LINEAR: Final = "linear_head"
ROUTE_PROTOTYPES: Final = "prototypes"
ROUTE_REGEX: Final = "regex"
ROUTES: Final[tuple[str, ...]] = (ROUTE_LINEAR, ROUTE_PROTOTYPES, ROUTE_REGEX)
"""Every route, in the order in which they are tried."""

RULE_ANGER_FRUSTRATION: Final = "anger_frustration"
RULES: Final[tuple[str, ...]] = (RULE_ANGER_FRUSTRATION,)
"""Names of the tie-break rules."""

LABEL_SETS: Final = LabelSets(routes=ROUTES, last_resort=ROUTE_REGEX, rules=RULES)
