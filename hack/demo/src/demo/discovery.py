"""Tells Prometheus which pods there are; runs beside it, with Python's standard library alone.

Debian's Prometheus is built without Kubernetes' discovery. This lists the pods once a second and writes
those with the annotation `prometheus.io/scrape: "true"` into a file for file_sd_configs, with the labels
`namespace` and `pod`, as the usual relabelling of Kubernetes does.
"""

from __future__ import annotations

import json
import os
import ssl
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
PORT_NAME = "http"
EVERY = 1.0


def targets(pods: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the groups of file_sd for those pods that run and want to be scraped, in a fixed order."""
    found = []
    for pod in pods:
        meta, status = pod["metadata"], pod.get("status") or {}
        wanted = (meta.get("annotations") or {}).get("prometheus.io/scrape") == "true"
        if not wanted or status.get("phase") != "Running" or not status.get("podIP"):
            continue
        labels = {"namespace": meta["namespace"], "pod": meta["name"]}
        ports = [
            port["containerPort"]
            for container in pod["spec"]["containers"]
            for port in container.get("ports") or []
            if port.get("name") == PORT_NAME
        ]
        addresses = [f"{status['podIP']}:{port}" for port in ports]
        found.append({"targets": addresses, "labels": labels})
    return sorted(found, key=lambda group: (group["labels"]["namespace"], group["labels"]["pod"]))


def list_pods() -> list[dict[str, Any]]:
    """Return all pods of the cluster."""
    server = f"https://{os.environ['KUBERNETES_SERVICE_HOST']}:{os.environ['KUBERNETES_SERVICE_PORT']}"
    token = (ACCOUNT / "token").read_text()
    request = urllib.request.Request(f"{server}/api/v1/pods", headers={"Authorization": f"Bearer {token}"})
    context = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
    with urllib.request.urlopen(request, timeout=5, context=context) as response:
        pods: list[dict[str, Any]] = json.load(response)["items"]
    return pods


def main(file: Path) -> None:
    """Write the file whenever the pods have changed, for ever."""
    written = ""
    while True:
        try:
            text = json.dumps(targets(list_pods()))
        except OSError as error:
            print(f"the pods cannot be listed: {error}", file=sys.stderr, flush=True)
        else:
            if text != written:
                new = file.with_suffix(".new")
                new.write_text(text)
                new.replace(file)  # at once: Prometheus never reads half a file
                written = text
        time.sleep(EVERY)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
