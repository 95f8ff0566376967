"""Something that is looked at again and again beside the main work."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from types import TracebackType
from typing import ClassVar, Self


class Background(ABC):
    """Looks every `every` seconds, in a thread of its own, until its `with` block ends.

    Attributes:
        patience: Seconds that the end of the block waits for a look that is under way.
    """

    patience: ClassVar[float] = 15

    def __init__(self, name: str, *, every: float) -> None:
        self._every = every
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join(timeout=self.patience)

    def _run(self) -> None:
        while not self._done.wait(self._every):
            self._look()
        self._end()

    @abstractmethod
    def _look(self) -> None:
        """Look once."""

    def _end(self) -> None:  # noqa: B027 - most have nothing to free
        """Free what the thread used, in the thread itself."""
