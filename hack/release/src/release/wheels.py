"""The wheels, and the locks to install them by."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Final

from release.plan import ROOT, Plan, run

PROJECTS: Final = ("operator", "inference-image")
LOCKS: Final = {
    "requirements-plugin.txt": "operator/requirements-plugin.txt",
    "requirements-operator.txt": "operator/requirements.txt",
    "requirements-inference-server.txt": "inference-image/requirements.txt",
}
"""Name among the released files, and in the repository."""


def write(plan: Plan) -> list[Path]:
    """Build the wheels and copy the locks."""
    environment = {"SOURCE_DATE_EPOCH": str(plan.epoch)}
    for project in PROJECTS:
        command = (sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", plan.out)
        run(*command, cwd=ROOT / project, env=environment)
    for name, source in LOCKS.items():
        shutil.copyfile(ROOT / source, plan.out / name)
    return [*plan.out.glob("*.whl"), *(plan.out / name for name in LOCKS)]


def plugin(plan: Plan) -> Path:
    """Return the wheel of the plugin and the operator."""
    return plan.out / f"modelrollout-{plan.version}-py3-none-any.whl"
