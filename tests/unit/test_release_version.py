"""One version for everything that is released together."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

import inference_server
import modelrollout
from modelrollout.cli.main import cli
from release import version
from tests.support.previous_release import PreviousRelease

ROOT = Path(__file__).resolve().parents[2]


def test_every_copy_of_the_version_is_the_operators(tmp_path: Path) -> None:
    for glob in (*version.COPIES, str(version.SOURCE)):
        for path in ROOT.glob(glob):
            target = tmp_path / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    assert version.copy(tmp_path) == []
    source = tmp_path / version.SOURCE
    source.write_text(source.read_text().replace(modelrollout.__version__, "9.8.7"))
    changed = {str(path) for path in version.copy(tmp_path)}
    assert changed >= {
        "inference-image/src/inference_server/__init__.py",
        "charts/modelrollout/Chart.yaml",
        "charts/inference-server/Chart.yaml",
        "samples/emotion-full.yaml",
    }
    assert version.copy(tmp_path) == []
    assert modelrollout.__version__ not in (tmp_path / "docs/install.md").read_text()


def test_programs_tell_the_version() -> None:
    said = CliRunner().invoke(cli, ["--version"]).output
    assert said.strip() == f"kubectl-modelrollout, version {modelrollout.__version__}"
    assert inference_server.__version__ == modelrollout.__version__


@pytest.mark.parametrize("chart", ["modelrollout", "inference-server"])
def test_charts_have_the_version(chart: str) -> None:
    about = yaml.safe_load((ROOT / "charts" / chart / "Chart.yaml").read_text())
    assert (about["version"], about["appVersion"]) == (modelrollout.__version__,) * 2


def test_changelog_has_the_version_first() -> None:
    headings = re.findall(r"^## \[([^\]]+)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == modelrollout.__version__


def test_the_source_of_the_release_before_is_kept_for_the_test_of_the_upgrade(tmp_path: Path) -> None:
    headings = re.findall(r"^## \[([^\]]+)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    before = PreviousRelease.unpack(tmp_path)
    assert (before.version, before.chart_version) == (headings[1],) * 2
    assert re.fullmatch(r"[0-9a-f]{40}", before.commit)
    assert (tmp_path / "operator/src/modelrollout/operator/main.py").exists()


def defaults(schema: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], bool]]:
    """Every field of a schema, and whether the API server fills it in."""
    for name, field in schema.get("properties", {}).items():
        yield (*path, name), "default" in field
        yield from defaults(field, (*path, name))
    for name in ("items", "additionalProperties"):
        if isinstance(schema.get(name), dict):
            yield from defaults(schema[name], (*path, name))


def schema_of(crd: Path) -> dict[tuple[str, ...], bool]:
    (version,) = yaml.safe_load(crd.read_text())["spec"]["versions"]
    return dict(defaults(version["schema"]["openAPIV3Schema"]))


def test_the_crd_fills_in_no_field_that_the_operator_of_the_release_before_would_refuse(
    tmp_path: Path,
) -> None:
    """It meets them during every upgrade, and refuses fields of spec that it does not know."""
    old = schema_of(PreviousRelease.unpack(tmp_path).chart / "files" / "modelrollout-crd.yaml")
    new = schema_of(ROOT / "crds" / "modelrollout.yaml")
    assert sum(old.values()) > 10
    added = {path for path in new.keys() - old.keys() if path[0] == "spec"}
    assert not {path for path in added if new[path]}
    assert old.keys() <= new.keys(), "fields are only added"
