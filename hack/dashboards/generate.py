"""Writes what the charts carry of generated things: dashboards, the CRD, and the manifests for kustomize.

python hack/dashboards/generate.py [DIRECTORY]     (default: charts/)
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Final

import model_quality
import render_kustomize
import rollouts

ROOT: Final = Path(__file__).resolve().parents[2]
DASHBOARDS: Final = {"rollouts.json": rollouts.DASHBOARD, "model-quality.json": model_quality.DASHBOARD}


def main() -> None:
    """Write all of it below the directory."""
    charts = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "charts"
    dashboards = charts / "modelrollout" / "dashboards"
    dashboards.mkdir(parents=True, exist_ok=True)
    for name, dashboard in DASHBOARDS.items():
        (dashboards / name).write_text(json.dumps(dashboard.to_json(), indent=1, ensure_ascii=False) + "\n")
    crd = charts / "modelrollout" / "files" / "modelrollout-crd.yaml"
    crd.parent.mkdir(exist_ok=True)
    crd.write_text((ROOT / "crds" / "modelrollout.yaml").read_text())
    render_kustomize.write(charts / "kustomize")


if __name__ == "__main__":
    main()
