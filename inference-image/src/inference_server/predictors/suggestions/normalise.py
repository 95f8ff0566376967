"""The texts of a transaction in the forms that rules and model read; the same in training and serving."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

MAX_CHARACTERS: Final = 400
"""Longer texts are cut here first; a bank's field holds some 140 characters."""

_APOSTROPHES = re.compile(r"(?<=\w)['’`](?=\w)")
_SEPARATORS = re.compile(r"(?:[^\w&+]|_)+")
_AND = re.compile(r"\s*&\s*")
_DATE = re.compile(r"\b\d{1,4}[./-]\d{1,2}(?:[./-]\d{2,4})?\b")
_MONTHS: Final = "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|janv|fev|mars|avr|mai|juin|juil|aout|sept"
_DAY_MONTH = re.compile(rf"\b\d{{1,2}} ?(?:{_MONTHS})\b(?: ?\d{{2,4}}\b)?")
# What banks print around the merchant: kind of payment, card, terminal, reference.
_NOISE: Final = frozenset(
    """
    cb carte card visa mastercard mc debit credit paiement payment achat purchase pos par facture fact du le
    ref reference id no num numero terminal term tid mid auth date contactless sans contact cpm x on at by
    to in ltd limited inc llc plc sarl sas sa gmbh www com fr co uk us usa gb fra gbr
    """.split()  # noqa: SIM905 - one word a line would hide the list
)
_HAS_DIGIT = re.compile(r"\d")


def fold(text: str) -> str:
    """Return lower case without accents, marks as single spaces; digits, ``&`` and ``+`` stay.

    ``PAIEMENT CB MCDONALD'S 12/03`` becomes ``paiement cb mcdonalds 12 03``, ``B & Q`` becomes ``b&q``.
    """
    return _words(_plain(text))[:MAX_CHARACTERS].strip()


def _plain(text: str) -> str:
    """Return lower case without accents and ligatures."""
    decomposed = unicodedata.normalize("NFKD", text[:MAX_CHARACTERS])
    folded = unicodedata.normalize("NFKD", decomposed.casefold())
    return "".join(character for character in folded if not unicodedata.combining(character))


def _words(plain: str) -> str:
    """Words between single spaces; ``marks & spencer`` and ``marks&spencer`` are the same."""
    return _AND.sub("&", _SEPARATORS.sub(" ", _APOSTROPHES.sub("", plain))).strip()


def clean(text: str) -> str:
    """Return what is left for a model.

    Folded, without dates, numbers, references and the bank's own words.
    """
    words = _words(_DAY_MONTH.sub(" ", _DATE.sub(" ", _plain(text)))).split()
    kept = [word for word in words if not (_HAS_DIGIT.search(word) and len(word) > 2) and word not in _NOISE]
    kept = [word for word in kept if not word.isdecimal()]
    # A description of noise alone still says something ("CB", "POS 1234").
    return " ".join(kept or [word for word in words if not _HAS_DIGIT.search(word)])
