"""Makes a process see another time of day: put it on PYTHONPATH, and SKEW_SECONDS in the environment.

The monotonic clock is left alone, as on a node whose clock is wrong.
"""

import datetime
import os
import time

SKEW = float(os.environ["SKEW_SECONDS"])
REAL_TIME = time.time


class _Meta(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, cls.__base__)  # type: ignore[attr-defined]


class Skewed(datetime.datetime, metaclass=_Meta):
    """A datetime whose `now` is off."""

    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:
        """The time of day as this process sees it."""
        return cls.__base__.fromtimestamp(time.time(), tz)


time.time = lambda: REAL_TIME() + SKEW
datetime.datetime = Skewed  # type: ignore[misc]
