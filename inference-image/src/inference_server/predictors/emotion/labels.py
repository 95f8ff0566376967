"""The eight labels of the emotion classifier, in the order of every array of scores."""

from typing import Final

JOY: Final = "joy"
FEAR: Final = "fear"
FRUSTRATION: Final = "frustration"
SADNESS: Final = "sadness"
ANGER: Final = "anger"
SURPRISE: Final = "surprise"
DISGUST: Final = "disgust"
NEUTRAL: Final = "neutral"
LABELS: Final[tuple[str, ...]] = (JOY, FEAR, FRUSTRATION, SADNESS, ANGER, SURPRISE, DISGUST, NEUTRAL)
