"""What goes over the wire on the paths of the emotion classifier."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Discriminator, Field, Tag

from inference_server.schemas import Answer, NonEmpty, Strict


class SingleText(Strict):
    """One text."""

    text: NonEmpty = Field(description="The text to classify.", examples=["I can't wait to see you!"])


class ManyTexts(Strict):
    """Several texts, answered in order."""

    texts: list[NonEmpty] = Field(min_length=1, examples=[["J'ai tellement hâte !", "This is unfair."]])


def _kind(body: object) -> str:
    fields = body if isinstance(body, dict) else getattr(body, "__dict__", {})
    return "text" if "text" in fields else "texts"


# Told apart by the field that is there, so that an error describes one form only.
PredictRequest = Annotated[
    Annotated[SingleText, Tag("text")] | Annotated[ManyTexts, Tag("texts")], Discriminator(_kind)
]


class PredictionOut(BaseModel):
    """One answer."""

    label: str
    confidence: float = Field(description="Probability of the label after calibration, 0..1.")
    route: str = Field(description="The route that answered: linear_head, prototypes or regex.")
    scores: dict[str, float] = Field(description="Probability of every label.")
    rule: str | None = Field(description="The tie-break rule that decided, if one did.")
    low_confidence: bool
    accepted: bool = Field(description="Whether to act on it: confident, and not answered by the last route.")
    fallbacks: list[str] = Field(description="Why each earlier route was left.")


class SingleAnswer(PredictionOut, Answer):
    """The answer to one text."""


class ManyAnswers(Answer):
    """The answers to several texts, in order."""

    predictions: list[PredictionOut]
