"""What goes over the wire on the paths of the suggestion system."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field

from inference_server.predictors.suggestions.transactions import Transaction, parse_amount, parse_date
from inference_server.schemas import Answer, NonEmpty, Strict, Text


def _known_date(value: str) -> str:
    if parse_date(value) is None:
        raise ValueError("expected a date such as 2026-03-12 or 12/03/2026")
    return value


def _known_amount(value: float | str) -> float | str:
    number = parse_amount(value) if isinstance(value, str) else value
    if number is None or not math.isfinite(number):
        raise ValueError("expected an amount such as -12.5 or '-12,50'")
    return value


class TransactionIn(Strict):
    """One transaction."""

    id: str = Field(default="", max_length=200, description="Your own name for it; comes back in the answer.")
    description: Text = Field(examples=["CARD PAYMENT TO TESCO STORES 3297"])
    merchant: Text = ""
    amount: Annotated[float | str, AfterValidator(_known_amount)] | None = Field(
        default=None, description="Below zero for money spent; a text may have a comma.", examples=[-12.5]
    )
    currency: str = Field(default="", max_length=3)
    date: Annotated[str, AfterValidator(_known_date)] | None = Field(default=None, examples=["2026-03-12"])

    def transaction(self, user: str) -> Transaction:
        """As rules and model see it."""
        amount = parse_amount(self.amount) if isinstance(self.amount, str) else self.amount
        return Transaction(
            description=self.description,
            merchant=self.merchant,
            amount=amount,
            currency=self.currency,
            day=None if self.date is None else parse_date(self.date),
            id=self.id,
            user=user,
        )


class SuggestRequest(Strict):
    """Transactions of one user."""

    user_id: NonEmpty = Field(
        max_length=200, description="Decides who is in the canary, always the same way."
    )
    transactions: list[TransactionIn] = Field(min_length=1)


class Candidate(BaseModel):
    """A label that the model thought of."""

    label: str
    confidence: float


class Suggestion(BaseModel):
    """The category of one transaction."""

    id: str
    label: str
    confidence: float = Field(
        description="Of the model: how often such an answer is right. Of a rule: as written."
    )
    source: Literal["rule", "model"]
    reason: str | None = Field(description="Why the model was not used.")
    rule: str | None = Field(description="The rule that answered or would have.")
    candidates: list[Candidate] = Field(description="Up to three labels of the model.")
    model_id: str = Field(description="The run whose model was asked.")


class SuggestAnswer(Answer):
    """The answers, in the order of the transactions."""

    suggestions: list[Suggestion]


class ThresholdsAnswer(BaseModel):
    """Confidence from which the model's answer is used."""

    thresholds: dict[str, float]
    default: float


class FeedbackItem(Strict):
    """What a person thinks of one suggestion."""

    id: str = Field(default="", max_length=200)
    label: str = Field(min_length=1, max_length=100, description="What was suggested.")
    source: Literal["rule", "model"]
    verdict: Literal["accept", "reject"]
    right_label: str = Field(default="", max_length=100, description="What it should have been.")
    description: str = Field(default="", max_length=2000, description="Of the transaction, kept masked.")


class FeedbackRequest(Strict):
    """Verdicts of one user."""

    user_id: NonEmpty = Field(max_length=200)
    items: list[FeedbackItem] = Field(min_length=1, max_length=1000)


class FeedbackAnswer(BaseModel):
    """How many verdicts were kept."""

    kept: int
