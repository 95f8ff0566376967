"""A transaction as rules and model see it."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from inference_server.errors import InvalidInputError
from inference_server.text import has_surrogate

_DATES: Final = (
    (re.compile(r"(\d{4})-(\d{2})-(\d{2})(?:[T ].*)?"), (1, 2, 3)),
    (re.compile(r"(\d{4})/(\d{2})/(\d{2})"), (1, 2, 3)),
    (re.compile(r"(\d{1,2})[/.](\d{1,2})[/.](\d{4})"), (3, 2, 1)),
    (re.compile(r"(\d{4})(\d{2})(\d{2})"), (1, 2, 3)),
)
_MAX_ENCODED: Final = 1 << 20
"""Characters of a transaction as JSON that are parsed at all; its texts have their own, smaller limit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Transaction:
    """One transaction of one user.

    Attributes:
        description: what the bank printed.
        merchant: its name, where the bank knows it; else empty.
        amount: signed as the bank gives it, or ``None``.
        currency: three letters, or empty.
        day: when, or ``None``.
        id: the client's own name for it.
        user: whom it belongs to; decides who is in the canary.
    """

    description: str
    merchant: str = ""
    amount: float | None = None
    currency: str = ""
    day: date | None = None
    id: str = ""
    user: str = ""

    @property
    def text(self) -> str:
        """What a person reads of it."""
        return f"{self.description} {self.merchant}".strip()


def parse_amount(text: str) -> float | None:
    """Return the number in ``1,234.50``, ``-1 234,50 €``, ``(12.00)`` or ``12.00-``.

    ``None`` if there is none.
    """
    plain = text.strip().replace("\u00a0", "").replace("\u202f", "").replace(" ", "").replace("−", "-")
    negative = plain.startswith(("-", "(")) or plain.endswith(("-", ")"))
    digits = re.sub(r"[^\d.,]", "", plain)
    if not any(character.isdecimal() for character in digits):
        return None
    if "," in digits and "." in digits:
        # The last mark is the decimal one, the other groups thousands.
        decimal, thousands = (".", ",") if digits.rfind(".") > digits.rfind(",") else (",", ".")
        digits = digits.replace(thousands, "").replace(decimal, ".")
    elif digits.count(",") == 1 and len(digits) - digits.index(",") != 4:
        digits = digits.replace(",", ".")
    digits = digits.replace(",", "")
    if digits.count(".") > 1:
        digits = digits.replace(".", "")
    try:
        value = float(digits)
    except ValueError:
        return None
    return (-value if negative else value) if math.isfinite(value) else None


def parse_date(text: str) -> date | None:
    """Return the day in ``2026-03-12``, ``2026/03/12``, ``12/03/2026`` (or with dots) or ``20260312``.

    Where day and month could be either, the day comes first; a month over twelve tells that it was the other
    way. ``None`` for anything else.
    """
    for pattern, order in _DATES:
        found = pattern.fullmatch(text.strip())
        if found is None:
            continue
        year, month, day = (int(found[place]) for place in order)
        if month > 12 and day <= 12:
            month, day = day, month
        try:
            return date(year, month, day)
        except ValueError:
            return None
    return None


def encode(transaction: Transaction) -> str:
    """Return the transaction as one line of JSON, for protocols that carry strings."""
    fields: dict[str, Any] = {
        "user_id": transaction.user,
        "id": transaction.id,
        "description": transaction.description,
        "merchant": transaction.merchant,
        "amount": transaction.amount,
        "currency": transaction.currency,
        "date": None if transaction.day is None else transaction.day.isoformat(),
    }
    return json.dumps({name: value for name, value in fields.items() if value not in (None, "")})


def decode(text: str) -> Transaction:
    """Return the transaction of a string: JSON as :func:`encode` writes it, anything else is a description.

    Raises:
        InvalidInputError: it begins like a JSON object, but is too long or no transaction.
    """
    if not text.lstrip().startswith("{"):
        return Transaction(description=text)
    if len(text) > _MAX_ENCODED:
        raise InvalidInputError(
            f"A transaction as JSON may have {_MAX_ENCODED} characters, but it has {len(text)}."
        )
    try:
        return _transaction(json.loads(text))
    # A deep object exceeds the recursion limit; OverflowError: an integer that no float can hold.
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise InvalidInputError(
            'A text that begins with "{" has to be a transaction as JSON, such as '
            '{"description": "TESCO STORES 3297", "amount": -12.5, "user_id": "u1"}.'
        ) from error


def _transaction(fields: dict[str, Any]) -> Transaction:
    """Return the transaction of a JSON object; raise what decode catches where a field does not fit."""
    texts = {
        ours: str(fields.get(theirs, ""))
        for ours, theirs in (
            ("merchant", "merchant"),
            ("currency", "currency"),
            ("id", "id"),
            ("user", "user_id"),
        )
    }
    texts["description"] = str(fields["description"])
    if any(has_surrogate(text) for text in texts.values()):
        raise ValueError("half of a surrogate pair")
    amount = None if fields.get("amount") is None else float(fields["amount"])
    if amount is not None and not math.isfinite(amount):
        raise ValueError("an amount that is no number")
    day = parse_date(str(fields["date"])) if "date" in fields else None
    return Transaction(**texts, amount=amount, day=day)
