"""How the demo fails."""

from __future__ import annotations


class DemoError(Exception):
    """Something did not happen as it should: what was expected, what was seen, what may explain it.

    Attributes:
        details: What may explain it, such as the end of a pod's log; printed below the message.
    """

    def __init__(self, *, expected: str, seen: str, details: str = "") -> None:
        super().__init__(f"expected {expected}, but {seen}")
        self.expected = expected
        self.seen = seen
        self.details = details
