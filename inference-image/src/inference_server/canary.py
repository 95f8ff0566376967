"""Who is on the candidate: a function of the user's id alone.

Routers and command lines that place users have the same function; ``tests/data/buckets.json`` holds every
one of them to the same answers. It is written in each place: five lines do not need a package.
"""

from __future__ import annotations

import hashlib
from typing import Final

BUCKETS: Final = 10_000


def bucket(user: str) -> int:
    """Return the bucket of a user, 0..9,999.

    The first four bytes of SHA-1 of the UTF-8 id, big-endian, modulo 10,000.

    Raises:
        UnicodeEncodeError: the id holds half of a surrogate pair.
    """
    digest = hashlib.sha1(user.encode(), usedforsecurity=False).digest()
    return int.from_bytes(digest[:4], "big") % BUCKETS


def on_candidate(user: str, weight: float) -> bool:
    """Tell whether a user is on the candidate at a weight in per cent (0..100, down to a hundredth).

    A user who is on the candidate stays there as the weight rises.
    """
    # Rounded first: 1.1 * 100 is a little more than 110, which would let one bucket too many in.
    return bucket(user) < round(weight * 100)
