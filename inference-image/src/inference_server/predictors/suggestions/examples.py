"""Requests such as clients send: card payments and direct debits of a few users."""

from __future__ import annotations

import json
from typing import Final

_LINES: Final = (
    ("PAIEMENT CB CARREFOUR CITY LYON", -23.4),
    ("CARD PAYMENT TO TESCO STORES 3297", -41.05),
    ("UBER *TRIP HELP.UBER.COM", -12.9),
    ("UBER *EATS PARIS", -24.5),
    ("PRLV SEPA SPOTIFY AB", -10.99),
    ("NETFLIX.COM 866-579-7172", -15.49),
    ("AMZN MKTP US*2X4AB1230", -32.99),
    ("SNCF INTERNET PARIS 10", -78.0),
    ("ODEON CINEMA LEEDS", -18.0),
    ("SQ *CORNER COFFEE BOSTON MA", -4.75),
    ("FACTURE CARTE DECATHLON 69 BRON", -54.98),
    ("HARLOW & SONS BUTCHERS YORK", -17.2),
)
_USERS: Final = 200


def examples() -> tuple[str, list[bytes]]:
    """Path and bodies: one transaction of each of many users."""
    bodies = []
    for number in range(_USERS):
        description, amount = _LINES[number % len(_LINES)]
        item = {"id": str(number), "description": description, "amount": amount, "date": "2026-03-12"}
        bodies.append(json.dumps({"user_id": f"user-{number}", "transactions": [item]}).encode())
    return "/suggest", bodies
