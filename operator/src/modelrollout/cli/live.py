"""What the operator measures now, from its own /metrics.

The status keeps a value only where something changed, so that a quiet tick writes nothing; the metrics have
it of the last evaluation.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

import urllib3

from modelrollout.api.constants import LABEL_ROLE, ROLE_OPERATOR
from modelrollout.cluster import resources
from modelrollout.cluster.plain_client import PlainKubeApi, in_thread

OPERATOR_LABELS: Final = f"{LABEL_ROLE}={ROLE_OPERATOR}"
"""What the chart labels the operator's pods with, whatever name the release and the chart are given."""
PORT_NAME: Final = "http"
SECONDS: Final = 2.0
"""A convenience must not hold up what it decorates."""
VALUE: Final = "modelrollout_criterion_value"
STATE: Final = "modelrollout_criterion_state"
SAMPLE: Final = re.compile(r"^(\w+)\{(.*)\} (\S+)$")
LABEL: Final = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, kw_only=True)
class Live:
    """Criterion -> value in base units, and criterion -> state, at the operator's last evaluation."""

    values: dict[str, float] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.values or self.states)


async def live_values(api: PlainKubeApi, url: str | None, namespace: str, name: str) -> Live:
    """Return the values of one rollout; empty if no operator that has them can be reached within two seconds.

    Args:
        api: The API server, which passes requests on to the operator's pods.
        url: Address of the operator's /metrics instead, such as that of a port-forward.
        namespace: Of the rollout.
        name: Of the rollout.
    """
    try:
        async with asyncio.timeout(SECONDS):
            if url is not None:
                return parse(await _fetch(url), namespace, name)
            async for page in _pages(api):
                if "modelrollout_leader 1.0" in page:
                    return parse(page, namespace, name)
    except Exception:  # noqa: BLE001 - a convenience: without it the status is shown as it is written
        return Live()
    return Live()


def parse(page: str, namespace: str, name: str) -> Live:
    """Return the values and states of one rollout in a page in the Prometheus text format."""
    found = Live()
    for metric, labels, value in _samples(page):
        if labels.get("namespace") != namespace or labels.get("name") != name:
            continue
        if metric == VALUE:
            found.values[labels["criterion"]] = value
        elif value == 1:
            found.states[labels["criterion"]] = labels["state"]
    return found


def _samples(page: str) -> Iterator[tuple[str, dict[str, str], float]]:
    for line in page.splitlines():
        if line.startswith((VALUE, STATE)) and (match := SAMPLE.match(line)):
            yield match[1], dict(LABEL.findall(match[2])), float(match[3])


async def _pages(api: PlainKubeApi) -> AsyncIterator[str]:
    pods = await api.request(
        "GET", f"{resources.CORE}/pods", query={"labelSelector": OPERATOR_LABELS}, attempts=1
    )
    for pod in pods["items"]:
        meta = pod["metadata"]
        path = (
            f"{resources.CORE}/namespaces/{meta['namespace']}/pods/{meta['name']}:{_port(pod)}/proxy/metrics"
        )
        yield await api.read_text(path)


def _port(pod: dict[str, Any]) -> int:
    """Return the port called `http` in the pod's specification."""
    for container in pod["spec"]["containers"]:
        for port in container.get("ports") or ():
            if port.get("name") == PORT_NAME:
                return int(port["containerPort"])
    return 8080


async def _fetch(url: str) -> str:
    answer = await in_thread(lambda: urllib3.request("GET", url, timeout=SECONDS, retries=False))
    if answer.status != HTTPStatus.OK:
        raise ValueError(f"{url} answered {answer.status}")
    return answer.data.decode("utf-8", errors="replace")
