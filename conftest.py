"""Marks every test by the folder it is in, so that both agree; orders the tests."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

NEEDS = ("unit", "component", "cluster", "e2e")
"""Folders below a `tests` directory, from the least that a test needs to the most."""


def pytest_itemcollected(item: pytest.Item) -> None:
    """Give the test its folder's marker; a test in no such folder is an error."""
    parts = item.path.relative_to(Path(__file__).parent).parts
    kinds = [part for part in parts[parts.index("tests") + 1 :] if part in NEEDS]
    if not kinds:
        raise pytest.UsageError(f"{item.path}: expected one of the folders {', '.join(NEEDS)} below tests/")
    item.add_marker(kinds[0])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the longest begin first, so that at the end no worker is left alone with a long one."""
    items.sort(key=_seconds, reverse=True)


def _seconds(item: pytest.Item) -> float:
    marker = item.get_closest_marker("takes")
    return float(marker.kwargs["seconds"]) if marker else 0.0


class Scheduling(LoadScopeScheduling):
    """Tests one by one; those of a file that share a fixture of module scope on one worker.

    xdist's `loadgroup` would need a marker, and does not see it with pytest 9.2.
    """

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        return path if _shares(Path(self.config.rootpath, path)) else nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling | None:
    """Take it for `--dist loadscope`."""
    return Scheduling(config, log) if config.getvalue("dist") == "loadscope" else None


@cache
def _shares(path: Path) -> bool:
    return 'scope="module"' in path.read_text()
