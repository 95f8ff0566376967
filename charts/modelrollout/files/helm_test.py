"""Run by `helm test`: the operator answers, a replica leads, and each Prometheus of its list answers."""

import os
import re
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import yaml

from modelrollout.prometheus import PrometheusTargets
from modelrollout.prometheus.client import PrometheusClient
from modelrollout.prometheus.errors import PrometheusError

SETTINGS = Path("/etc/modelrollout/prometheus/prometheus.yaml")
PATIENCE = 60.0
LEADS = re.compile(r"^modelrollout_leader 1(\.0)?$", re.MULTILINE)


def answer(path: str) -> str:
    """Return what the operator says at `path`, asked again for as long as it is not ready."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            with urllib.request.urlopen(os.environ["OPERATOR"] + path, timeout=5) as response:
                return str(response.read().decode())
        except (urllib.error.URLError, OSError) as error:
            if time.monotonic() > deadline:
                said = error.read().decode() if isinstance(error, urllib.error.HTTPError) else str(error)
                sys.exit(f"FAILED  {path}: no good answer from the operator within {PATIENCE:.0f} s: {said}")
            time.sleep(1)


def wait_for_a_leader() -> None:
    """Asks until the replica that acts has answered: the Service gives each new connection any of them."""
    deadline = time.monotonic() + PATIENCE
    while not LEADS.search(answer("/metrics")):
        if time.monotonic() > deadline:
            sys.exit(
                "FAILED  /metrics: expected one of the replicas to say modelrollout_leader 1 within "
                f"{PATIENCE:.0f} s, but none did: no replica holds the Lease; see the operator's logs"
            )
        time.sleep(0.25)


def main() -> None:
    """Print a line for each thing that was proved; end with 1 at the first that is not so."""
    print("passed  the operator is ready:", answer("/readyz"))
    wait_for_a_leader()
    print("passed  one of its replicas leads")
    for name, target in PrometheusTargets.from_mapping(yaml.safe_load(SETTINGS.read_text())).targets.items():
        try:
            PrometheusClient(target).query("vector(1)")
        except PrometheusError as error:
            sys.exit(f"FAILED  {error}")
        print(f"passed  Prometheus {name!r} at {target.url} answers")


main()
