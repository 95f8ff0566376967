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


class MachineError(Exception):
    """The machine lacks what the demo needs. Each problem is a sentence that ends with the cure."""

    exit_code = 3

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class CommandError(Exception):
    """A program that was run to the end failed; the message has the end of what it printed."""
