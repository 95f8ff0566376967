"""Fixtures of the tool's own tests: a state directory of their own, and the machine before and after."""

from __future__ import annotations

from pathlib import Path

import pytest

from devcluster.pytest_plugin import control_plane, kind_cluster, namespace, prometheus_server

__all__ = ["control_plane", "kind_cluster", "namespace", "prometheus_server"]


@pytest.fixture
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state directory for one test, so that it neither sees nor removes anybody else's clusters."""
    monkeypatch.setenv("MODELROLLOUT_STATE", str(tmp_path / "state"))
    return tmp_path / "state"
