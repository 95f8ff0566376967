"""One version for everything that is released together."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

import inference_server
import modelrollout
from modelrollout.cli.main import cli
from release import version

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
