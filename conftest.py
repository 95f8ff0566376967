"""Marks every test by the folder it is in, so that both agree; orders the tests."""

from __future__ import annotations

from pathlib import Path

import pytest

NEEDS = ("unit", "component", "cluster", "e2e")
"""Folders below a `tests` directory, from the least that a test needs to the most."""


def pytest_itemcollected(item: pytest.Item) -> None:
    """Give the test its folder's marker, and keep the tests of a file together where they share something.

    A test in no such folder is an error.
    """
    parts = item.path.relative_to(Path(__file__).parent).parts
    kinds = [part for part in parts[parts.index("tests") + 1 :] if part in NEEDS]
    if not kinds:
        raise pytest.UsageError(f"{item.path}: expected one of the folders {', '.join(NEEDS)} below tests/")
    item.add_marker(kinds[0])
    # Where tests share no more than what lasts for a session, each may run on any worker.
    if kinds[0] != "cluster" and item.get_closest_marker("xdist_group") is None:
        item.add_marker(pytest.mark.xdist_group(str(item.path)))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the longest begin first, so that at the end no worker is left alone with a long one."""
    items.sort(key=_seconds, reverse=True)


def _seconds(item: pytest.Item) -> float:
    marker = item.get_closest_marker("takes")
    return float(marker.kwargs["seconds"]) if marker else 0.0
