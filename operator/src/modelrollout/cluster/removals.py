"""Which objects were removed, so that what was read before that does not bring them back."""

from __future__ import annotations

from collections.abc import Mapping

from modelrollout.cluster.source import Key, is_older


class Removals:
    """The resourceVersion at which each object was removed, until a list that began later is complete."""

    def __init__(self) -> None:
        self._versions: dict[Key, str] = {}

    def note(self, key: Key, version: str) -> None:
        """Note a removal; one that is older than what is noted, or without a version, changes nothing."""
        if version and not is_older(version, self.last(key)):
            self._versions[key] = version

    def last(self, key: Key) -> str:
        """Return the version at which an object was removed; empty if it was not."""
        return self._versions.get(key, "")

    def noted(self) -> dict[Key, str]:
        """Return every removal as it is now."""
        return dict(self._versions)

    def forget(self, told: Mapping[Key, str], *, namespace: str | None = None) -> None:
        """Forget those removals in one namespace (None: in all), but none that came since."""
        for key, version in told.items():
            if namespace in {None, key[0]} and self._versions.get(key) == version:
                del self._versions[key]
