"""The regex route: word lists in French and English, for when no embedding can be used."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inference_server.predictors.emotion.labels import (
    ANGER,
    DISGUST,
    FEAR,
    FRUSTRATION,
    JOY,
    NEUTRAL,
    SADNESS,
    SURPRISE,
)

_WORDS: Final[dict[str, str]] = {
    JOY: r"happ(?:y|ier|iest|iness)|glad|great|awesome|amazing|love\w*|lol|lmao|haha+|thank\w*|thx"
    r"|congrat\w*|excit\w+|yay"
    r"|wonderful|fantastic|beautiful|proud|delight\w*|enjoy\w*|funny|hilarious|laughing"
    r"|relie(?:f|ved)|hope\w*|brilliant"
    r"|perfect|cute|best|good (?:job|luck|point|idea)|nice|red heart|thumbs up|heureu\w+|content\w*"
    r"|ravi\w*|génial\w*"
    r"|super|merci|bravo|adore\w*|aime|magnifique|formidable|fier|fière|joie|mdr|ptdr|rire|soulag\w+"
    r"|hâte|chouette",
    FEAR: r"afraid|scar(?:ed|y|ing)|terrif\w+|fear\w*|frighten\w*|nervous|anxious|anxiety|panic\w*"
    r"|worr(?:y|ied|ying)"
    r"|creepy|horror|nightmare\w*|dread\w*|phobia|peur\w*|effray\w+|terrifi\w+|angoiss\w+"
    r"|inqui[eè]t\w*|panique\w*"
    r"|crains|crainte|cauchemar\w*|stress\w*|tremble\w*|flippe\w*|screaming in fear",
    FRUSTRATION: r"frustrat\w+|annoy\w+|irritat\w+|disappoint\w+|fed up|tired of|sick of|ugh+|useless"
    r"|waste of"
    r"|does(?:n't| not) work|not working|stuck|again and again|let down|disagree|wrong|rolling eyes"
    r"|agac\w+|agaç\w+|frustr\w+"
    r"|énerv\w+|marre|ras[- ]le[- ]bol|déçu\w*|décev\w+|ne (?:marche|fonctionne) (?:pas|plus)"
    r"|bloqué\w*|pénible|soûl\w+|nul\w*",
    SADNESS: r"sad(?:ly|ness|der)?|cry(?:ing)?|cried|tears|depress\w+"
    r"|miss(?:ed|ing)? (?:you|him|her|them|it)|lonely|grief"
    r"|heartbroken|broken heart|sorry|regret\w*|ashamed|embarrass\w+|died|passed away|mourn\w*|hurts?"
    r"|triste\w*|pleur\w+"
    r"|larmes?|seule?|deuil|regrette\w*|désolée?|honte|manques?|chagrin|malheureu\w+|déprim\w+"
    r"|décédée?|mort",
    ANGER: r"angry|anger|furious|rage|hate\w*|pissed|fuck\w*|idiots?|morons?|stupid|shut up"
    r"|asshole\w*|bastards?|damn"
    r"|how dare|outrag\w+|bullshit|screw you|colère|furieu\w+|hais|déteste\w*|connard\w*|merde|putain"
    r"|abruti\w*|scandal\w+"
    r"|inadmissible|inacceptable|ta gueule|honteu\w+|salaud\w*",
    SURPRISE: r"wow|whoa|omg|oh my god|surpris\w+|unexpected\w*|shock(?:ed|ing)?|no way|really\?"
    r"|what\?|wait|wtf|incredibl\w+"
    r"|unbelievable|can't believe|never (?:knew|thought|realized)|curious|wonder(?:ing)?|confus\w+"
    r"|how (?:come|did|does)"
    r"|why (?:is|do|does|did|would)|surpr\w+|étonn\w+|incroyable|pas possible|vraiment \?"
    r"|inattendu\w*|stupéf\w+|tiens",
    DISGUST: r"disgust\w*|gross|nasty|vomit\w*|puke|yuck|eww*|revolting|repuls\w+|sicken\w*|vile"
    r"|rotten|filthy|cringe"
    r"|nausea\w*|dégo[uû]t\w*|beurk|berk|écœur\w+|ecoeur\w+|répugn\w+|immonde\w*|pourri\w*|infect\w*"
    r"|gerb\w+|crasse\w*",
}
_NEGATED_JOY = re.compile(
    r"(?:\bnot|\bno|n't|\bpas|\bjamais|\bnever)(?: \w+){0,2} (?:" + _WORDS[JOY] + r")\b", re.IGNORECASE
)
_COMPILED = {
    label: re.compile(rf"(?<!\w)(?:{pattern})(?!\w)", re.IGNORECASE) for label, pattern in _WORDS.items()
}
_NEUTRAL_WEIGHT = 0.8
_SHARPNESS = 1.2


def pattern_scores(text: str, labels: Sequence[str]) -> NDArray[np.float32]:
    """Return probabilities ``(labels,)`` from the matches in a normalised text.

    Without a match mostly neutral.

    A negated joyful word ("not happy") speaks for frustration instead. Labels without a list get a low score.
    """
    hits = dict.fromkeys(labels, 0.0)
    for label, pattern in _COMPILED.items():
        if label in hits:
            hits[label] = float(len(pattern.findall(text)))
    negated = len(_NEGATED_JOY.findall(text))
    if negated and FRUSTRATION in hits and JOY in hits:
        hits[JOY] = max(0.0, hits[JOY] - negated)
        hits[FRUSTRATION] += negated
    if NEUTRAL in hits:
        hits[NEUTRAL] = _NEUTRAL_WEIGHT
    weights = np.exp(_SHARPNESS * np.asarray([hits[label] for label in labels], np.float64).clip(0.0, 8.0))
    return np.asarray(weights / weights.sum(), np.float32)
