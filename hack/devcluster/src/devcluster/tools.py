"""Paths of the programs that tests and the demo call, built or installed when first asked for."""

from __future__ import annotations

import os
from pathlib import Path

from devcluster import golang
from devcluster.apt import ensure_program
from devcluster.errors import UsageError


def kubectl() -> Path:
    """kubectl of the same version as the clusters."""
    return component("kubectl")


def helm() -> Path:
    """Helm 4."""
    return golang.binary(golang.HELM)


def kind() -> Path:
    """kind, at the version whose node image builder is used."""
    return golang.binary(golang.KIND)


def kwok() -> Path:
    """Return the kwok controller, which plays the kubelet of fake nodes."""
    return golang.binary(golang.KWOK)


def prometheus() -> Path:
    """Debian's Prometheus server."""
    return ensure_program("prometheus", "prometheus")


def promtool() -> Path:
    """Debian's promtool."""
    return ensure_program("promtool", "prometheus")


def component(name: str) -> Path:
    """Return one of the Kubernetes programs or etcd.

    From `KUBEBUILDER_ASSETS` where that directory has it, else built.
    """
    if assets := os.environ.get("KUBEBUILDER_ASSETS"):
        if not Path(assets).is_dir():
            raise UsageError(
                f"expected KUBEBUILDER_ASSETS to name a directory of programs, there is no {assets}; "
                "correct it, or unset it to have them built"
            )
        given = Path(assets) / name
        if given.is_file():
            return given
    return golang.binary(golang.KUBE, name)
