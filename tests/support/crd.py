"""Makes an API server know ModelRollouts."""

from __future__ import annotations

import json
import time
from pathlib import Path

from tests.support.cluster_tool import Cluster

CRD = Path(__file__).resolve().parents[2] / "crds" / "modelrollout.yaml"
RESOURCES = "/apis/modelrollout.dev/v1alpha1"


def install(plane: Cluster, *, seconds: float = 60.0) -> None:
    """Applies the CRD and waits until the API server serves the resource.

    `kubectl wait` on a CRD that has no status yet fails at once, so the resource itself is asked for.
    """
    plane.apply(CRD)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        status, body = plane.request("GET", RESOURCES)
        if status == 200 and any(each["name"] == "modelrollouts" for each in json.loads(body)["resources"]):
            return
        time.sleep(0.1)
    raise AssertionError(f"{RESOURCES} is not served after {seconds} s: {status} {body[:300]}")
