"""The folder in which mutmut works: a copy of the operator and of the tests that import it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[3]
SOURCE: Final = "operator/src/modelrollout"
PACKAGES: Final = ("decision", "cluster", "prometheus", "traffic")
WORKS_ON: Final = re.compile(
    rf"modelrollout\.({'|'.join(PACKAGES)}|operator|backtest)\b|from modelrollout import"
)
SKIPPED: Final = re.compile(r"import subprocess|tests\.support\.(simulation|mutation)")
"""Tests that start processes: a change in this process is not one in theirs."""
READ: Final = (SOURCE, "charts", "samples", "docs", "crds")
"""What tests read as text."""
LOGGING: Final = r"\blogger\.(debug|info|warning|error|exception)\("
TEST_SECONDS: Final = 60
"""A single test that takes longer under a mutant has found it."""


class Workspace:
    """Where mutants are made and run.

    Args:
        path: The folder; made anew.
        packages: Which packages of the operator are changed.
    """

    def __init__(self, path: Path, packages: tuple[str, ...]) -> None:
        self.path = path
        self.packages = packages

    def make(self) -> None:
        """Copy what is needed and write the settings."""
        shutil.rmtree(self.path, ignore_errors=True)
        ignore = shutil.ignore_patterns("__pycache__")
        for source, target in (
            (SOURCE, "src/modelrollout"),
            *((name, name) for name in READ),
            ("tests/unit", "tests/unit"),
            ("tests/support", "tests/support"),
            ("tests/data", "tests/data"),
        ):
            shutil.copytree(ROOT / source, self.path / target, ignore=ignore)
        for name in ("conftest.py", "tests/conftest.py"):
            shutil.copy(ROOT / name, self.path / name)
        (self.path / "pytest.ini").write_text(self._pytest_settings())
        (self.path / "pyproject.toml").write_text(self._mutmut_settings())

    def run(self, *arguments: str, log: Path) -> subprocess.CompletedProcess[bytes]:
        """Run Python in the folder, as the tests run there; what it prints goes to the log."""
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "HYPOTHESIS_PROFILE": "mutation"}
        with log.open("ab") as out:
            return subprocess.run(
                [sys.executable, *arguments],
                cwd=self.path,
                env=environment,
                stdout=out,
                stderr=out,
                check=False,
            )

    def _tests(self) -> list[str]:
        names = []
        for path in sorted((self.path / "tests/unit").glob("test_*.py")):
            text = path.read_text()
            if WORKS_ON.search(text) and not SKIPPED.search(text):
                names.append(str(path.relative_to(self.path)))
        return names

    def _pytest_settings(self) -> str:
        """Those of the repository, with the changed copy in place of the source."""
        settings: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"][
            "ini_options"
        ]
        kept = {key: settings[key] for key in ("asyncio_mode", "filterwarnings", "markers")}
        kept |= {
            "asyncio_default_fixture_loop_scope": "function",
            "pythonpath": ["src", "."],
            "addopts": [
                "--import-mode=importlib",
                "-p no:cacheprovider",
                "-p tests.support.mutation.order",
            ],
            "timeout": TEST_SECONDS,
        }
        lines = ["[pytest]"]
        for key, value in kept.items():
            lines += (
                [f"{key} =", *(f"    {part}" for part in value)]
                if isinstance(value, list)
                else [f"{key} = {value}"]
            )
        return "\n".join(lines) + "\n"

    def _mutmut_settings(self) -> str:
        settings: dict[str, Any] = {
            "source_paths": ["src"],
            "only_mutate": [f"src/modelrollout/{package}/*" for package in self.packages],
            "also_copy": ["conftest.py", "pytest.ini", *(name.split("/")[0] for name in READ)],
            "pytest_add_cli_args_test_selection": self._tests(),
            "do_not_mutate_patterns": [LOGGING],
            "timeout_multiplier": 3.0,
            "timeout_constant": 2.0,
        }
        lines = [f"{key} = {_toml(value)}" for key, value in settings.items()]
        text = "\n".join(
            ["[tool.mutmut]", *lines, "use_git_change_detection = false", "track_dependencies = false"]
        )
        return text + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(f"'{part}'" for part in value) + "]"
    return repr(value)
