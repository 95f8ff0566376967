"""The rule that decides between anger and frustration when a model cannot.

Both feelings use much the same words; what tells them apart is an attack on someone (anger) against being
blocked or let down (frustration). The rule looks for such words in French and English.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from inference_server.predictors.emotion.label_sets import RULE_ANGER_FRUSTRATION
from inference_server.predictors.emotion.labels import ANGER, FRUSTRATION

ANGER_PATTERNS: Final[tuple[str, ...]] = (
    r"furious|outrag\w+|enrag\w+|livid|seeth\w+|rage|raging|anger|angry|pissed|mad at|hate|despise|loathe",
    r"how dare|shut up|f+u+ck(?:ing|ed)? (?:you|off|this guy|them|him|her)|screw (?:you|them)|go to hell",
    r"idiots?|morons?|assholes?|bastards?|scum|traitors?|liars?|unacceptable|disgrace",
    r"furieu\w+|enragé\w*|rage|colère|hors de moi|scandal\w+|honteu\w+|haine|hais|déteste\w*"
    r"|inadmissible|inacceptable",
    r"ta gueule|va te faire|connards?|connasses?|salauds?|abrutis?|crétins?|menteu\w+|imbéciles?"
    r"|comment osent|ose[sz]?",
)
FRUSTRATION_PATTERNS: Final[tuple[str, ...]] = (
    r"frustrat\w+|annoy\w+|irritat\w+|stuck|again|still|yet again|keeps?|nothing works"
    r"|does(?:n't| not) work|gave up",
    r"give up|fed up|tired of|sick of|waste of time|disappoint\w+|let down|ugh|sigh|why can't"
    r"|can't even|useless",
    r"for the (?:third|fourth|fifth|tenth|hundredth) time|hours|every time|no one answers|waiting",
    r"frustr\w+|agaç\w+|agac\w+|énerv\w+|marre|ras[- ]le[- ]bol|bloqué\w*|encore|toujours"
    r"|ne (?:marche|fonctionne) (?:pas|plus)",
    r"rien ne (?:marche|fonctionne)|perte de temps|déçu\w*|décev\w+|soûl\w+|saoul\w+|pénible"
    r"|à chaque fois|j'abandonne|attends?",
)


def _compile(patterns: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(r"(?<!\w)(?:" + "|".join(patterns) + r")(?!\w)", re.IGNORECASE)


_ANGER = _compile(ANGER_PATTERNS)
_FRUSTRATION = _compile(FRUSTRATION_PATTERNS)


def break_tie(label: str, scores: Mapping[str, float], text: str, delta: float) -> tuple[str, str | None]:
    """Decide between anger and frustration by keywords.

    Only if one of them won and the other is closer than ``delta``.

    Only if one of them won and the other is closer than ``delta``.

    Args:
        label: the winning label.
        scores: probability of every label.
        text: the normalised text.
        delta: largest difference of the two probabilities that counts as a tie, 0..1; lower is stricter.

    Returns:
        the label to answer, and the rule's name if its keywords decided (also if they confirmed ``label``).
    """
    if label not in (ANGER, FRUSTRATION) or ANGER not in scores or FRUSTRATION not in scores:
        return label, None
    if abs(scores[ANGER] - scores[FRUSTRATION]) >= delta:
        return label, None
    anger, frustration = len(_ANGER.findall(text)), len(_FRUSTRATION.findall(text))
    if anger == frustration:
        return label, None
    return (ANGER if anger > frustration else FRUSTRATION), RULE_ANGER_FRUSTRATION
