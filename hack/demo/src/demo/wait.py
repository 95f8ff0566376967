"""Waiting, always with an end."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from demo.api import ApiError
from demo.errors import DemoError

T = TypeVar("T")


def until(
    check: Callable[[], T | None],
    *,
    seconds: float,
    expected: str,
    seen: Callable[[], str],
    details: Callable[[], str] = lambda: "",
) -> T:
    """Return what `check` returns once that is neither None nor false.

    Args:
        check: Asked about five times a second; an ApiError in it counts as "not yet".
        seconds: The longest wait.
        expected: What is waited for, as the end of "expected ...".
        seen: Says what there is instead, if the time is up.
        details: What may explain it.

    Raises:
        DemoError: The time was up.
    """
    deadline = time.monotonic() + seconds
    last: ApiError | None = None
    while True:
        try:
            if found := check():
                return found
            last = None
        except ApiError as error:
            last = error
        if time.monotonic() > deadline:
            now = f"the API server answered {last}" if last else seen()
            raise DemoError(expected=f"{expected} within {seconds:.0f} s", seen=now, details=details())
        time.sleep(0.2)
