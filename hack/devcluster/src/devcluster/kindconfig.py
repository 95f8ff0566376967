"""kind's configuration: as it is in the repository, and as this machine needs it."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Any

import yaml

from devcluster import capabilities
from devcluster.errors import UsageError
from devcluster.paths import repository_root

# Added to the configuration that kind's images carry, which has this version and this name of the plugin.
_KEEP_OOM_SCORE = """\
version = 2
[plugins."io.containerd.grpc.v1.cri"]
  restrict_oom_score_adj = true
"""


def load_config(file: Path) -> dict[str, Any]:
    """Read kind's configuration; UsageError if it is none."""
    try:
        loaded = yaml.safe_load(file.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise UsageError(
            f"expected kind's configuration in {file}, and it cannot be read: {error}"
        ) from error
    if not isinstance(loaded, dict) or loaded.get("kind") != "Cluster":
        raise UsageError(
            f"expected kind's configuration (`kind: Cluster`) in {file}; write one as in kind's documentation"
        )
    nodes = loaded.get("nodes") or []
    if not isinstance(nodes, list) or not all(isinstance(node, dict) for node in nodes):
        raise UsageError(
            f"expected a list of nodes (`- role: control-plane`) under `nodes` in {file}, got {nodes!r}"
        )
    return loaded


def adapted(
    settings: dict[str, Any], *, cgroups: int | None = None, missing: list[str] | None = None
) -> dict[str, Any]:
    """With what this machine needs.

    A kubelet refuses version 1 control groups unless told, and containerd starts no pod where it may not
    lower the out-of-memory score that the kubelet asks for.
    """
    patches = list(settings.get("kubeadmConfigPatches") or [])
    runtime = list(settings.get("containerdConfigPatches") or [])
    if (cgroups or capabilities.cgroup_version()) == 1:
        patches.append("kind: KubeletConfiguration\nfailCgroupV1: false\n")
    if "CAP_SYS_RESOURCE" in (capabilities.missing() if missing is None else missing):
        runtime.append(_KEEP_OOM_SCORE)
    return {**settings, "kubeadmConfigPatches": patches, "containerdConfigPatches": runtime}


def free_subnet(routes: str) -> str:
    """Return a private /24 that no route of the machine (as `ip route` prints them) overlaps."""
    taken = [
        ipaddress.ip_network(found, strict=False)
        for found in re.findall(r"\b(\d+\.\d+\.\d+\.\d+(?:/\d+)?)", routes)
        if not found.startswith("0.")
    ]
    for second in range(31, 16, -1):
        for third in range(256):
            candidate = ipaddress.ip_network(f"172.{second}.{third}.0/24")
            if not any(candidate.overlaps(network) for network in taken):
                return str(candidate)
    raise UsageError(
        "every range from 172.17.0.0 to 172.31.255.0 is routed on this machine; remove an unused one"
    )


def default_name() -> str:
    """Return the name that the repository's kind-config.yaml gives."""
    return str(load_config(repository_root() / "kind-config.yaml").get("name", "kind"))
