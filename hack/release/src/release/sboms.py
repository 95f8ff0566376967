"""CycloneDX lists of the Python packages that each part brings, with their versions and hashes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Final

from release.plan import ROOT, Plan, run

PARTS: Final = {
    "modelrollout-plugin": ("operator/requirements-plugin.txt", "application"),
    "modelrollout-operator": ("operator/requirements.txt", "application"),
    "inference-server": ("inference-image/requirements.txt", "application"),
}
"""Name of the part -> its lock, and what CycloneDX calls it."""


def write(plan: Plan) -> list[Path]:
    """Write one for each part."""
    return [_write(plan, part, lock, kind) for part, (lock, kind) in PARTS.items()]


def _write(plan: Plan, part: str, lock: str, kind: str) -> Path:
    said = run(
        sys.executable, "-m", "cyclonedx_py", "requirements", "--output-reproducible",
        "--spec-version", "1.6", "--output-format", "JSON", "--output-file", "-", ROOT / lock,
        # The tool lists hashes in the order of a set.
        env={"PYTHONHASHSEED": "0", "SOURCE_DATE_EPOCH": str(plan.epoch)},
    )  # fmt: skip
    listed = json.loads(said)
    listed["metadata"]["component"] = {
        "type": kind,
        "bom-ref": part,
        "name": part,
        "version": plan.version,
        "licenses": [{"license": {"id": "Apache-2.0"}}],
    }
    target = plan.out / f"{part}-{plan.version}.cdx.json"
    target.write_text(json.dumps(listed, indent=2, sort_keys=True) + "\n")
    return target
