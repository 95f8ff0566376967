"""A machine whose caches are empty: what was never downloaded is downloaded first."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from devcluster import golang, nodeimage


def test_a_machine_that_never_built_anything_finds_kinds_node_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOMODCACHE", str(tmp_path / "modules"))
    try:
        assert nodeimage.published_reference().startswith("kindest/node:v1.")
    finally:  # Go writes its modules read-only; only go itself removes them without ado
        subprocess.run([golang.go_command()[0], "clean", "-modcache"], check=True)
