"""A file of rules that may change while the server runs."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from inference_server.predictors.suggestions.rules import RuleError, RuleSet, read_rules

logger = logging.getLogger(__name__)

CHECK_SECONDS: Final = 2.0


class RuleFile:
    """The rules of a file, read again when it changes; a file that cannot be used leaves the old rules.

    Args:
        path: the file; ``None`` for the rules that ship with the server, which never change.
        clock: seconds.

    Raises:
        RuleError: the file cannot be used now: a start is refused, only a later change is not.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._clock = clock
        self._lock = threading.Lock()
        self._seen = self._state()
        self._rules = read_rules(path)
        self._known = frozenset(self._rules.categories)
        self._next = clock() + CHECK_SECONDS

    @property
    def known(self) -> frozenset[str]:
        """The categories at the start: the only ones that a changed file may answer."""
        return self._known

    def current(self) -> RuleSet:
        """Return the rules now; looks at the file at most every two seconds.

        Safe to call from several threads.
        """
        if self._path is not None and self._clock() >= self._next and self._lock.acquire(blocking=False):
            try:
                self._next = self._clock() + CHECK_SECONDS
                self._look()
            finally:
                self._lock.release()
        return self._rules

    def _look(self) -> None:
        state = self._state()
        if state == self._seen:
            return
        self._seen = state
        try:
            rules = read_rules(self._path)
            new = sorted(set(rules.categories) - self._known)
            if new:
                raise RuleError(str(self._path), "categories that were there at the start", new)
        except Exception as error:  # noqa: BLE001 - a guard: no file may cost an answer
            logger.warning("The changed file of rules is not used, the earlier rules go on: %s", error)
            return
        self._rules = rules
        logger.info("Read %d rules from %s.", len(rules.rules), self._path)

    def _state(self) -> tuple[int, int, int] | None:
        """Return what tells that the file is another one.

        Links are followed, for a ConfigMap changes by one.
        """
        if self._path is None:
            return None
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size
