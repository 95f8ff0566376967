"""Writes charts/kustomize/{crd,operator}.yaml: what the chart renders by default, without what needs Helm."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).resolve().parents[2]
NAMESPACE: Final = "modelrollout-system"
RELEASE: Final = "modelrollout"
REPOSITORY: Final = "registry.invalid/operator"
"""Where nothing can be pulled from; kustomization.yaml asks for another."""
HEADER: Final = "# Rendered from charts/modelrollout by `make generate`; do not edit.\n"
HELM_LABELS: Final = ("helm.sh/chart", "app.kubernetes.io/managed-by")


def render() -> str:
    """Return the operator's objects as YAML, without Helm's labels and the list of Prometheus servers."""
    settings = f"crds.install=false,tests.enabled=false,image.repository={REPOSITORY}"
    command = [_helm(), "template", RELEASE, str(ROOT / "charts" / "modelrollout")]
    command += ["--namespace", NAMESPACE, "--set", settings]
    rendered = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    documents = [_plain(document) for document in yaml.safe_load_all(rendered) if document]
    kept = [document for document in documents if document["kind"] != "ConfigMap"]
    return HEADER + "---\n".join(yaml.safe_dump(document, sort_keys=False, width=120) for document in kept)


def _helm() -> str:
    """Return the helm of the repository's version, so that everybody renders the same."""
    ask = [sys.executable, "-m", "devcluster", "tool", "helm"]
    return subprocess.run(ask, check=True, stdout=subprocess.PIPE, text=True, timeout=600).stdout.strip()


def _plain(document: dict[str, Any]) -> dict[str, Any]:
    for labels in _labels(document):
        for name in HELM_LABELS:
            labels.pop(name, None)
    template = document.get("spec", {}).get("template", {}).get("metadata", {})
    template.pop("annotations", None)  # the checksum: kustomize hashes the list of servers itself
    return document


def _labels(document: dict[str, Any]) -> Iterator[dict[str, str]]:
    yield document["metadata"].get("labels", {})
    yield document.get("spec", {}).get("template", {}).get("metadata", {}).get("labels", {})


def write(target: Path) -> None:
    """Write both files."""
    target.mkdir(exist_ok=True)
    (target / "operator.yaml").write_text(render())
    (target / "crd.yaml").write_text((ROOT / "crds" / "modelrollout.yaml").read_text())
