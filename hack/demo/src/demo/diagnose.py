"""What a person would look at when something goes wrong, gathered before the message is printed."""

from __future__ import annotations

from typing import Final

from demo.cluster import Cluster
from demo.errors import CommandError

LOG_LINES: Final = "15"


def gather(cluster: Cluster, *namespaces: str) -> str:
    """Pods, the end of the logs of those that are not well, and the latest warnings, of some namespaces."""
    parts = [_section(cluster, namespace) for namespace in namespaces]
    return "\n".join(part for part in parts if part)


def operator_log(cluster: Cluster, namespace: str, lines: int = 20) -> str:
    """Return the end of the operator's log, all replicas."""
    said = _try(
        cluster,
        "logs",
        "-n",
        namespace,
        "-l",
        "app.kubernetes.io/component=operator",
        f"--tail={lines}",
        "--prefix",
    )
    return f"The operator's log:\n{said}"


def _section(cluster: Cluster, namespace: str) -> str:
    pods = _try(cluster, "get", "pods", "-n", namespace, "-o", "wide", "--no-headers")
    lines = [f"Pods in {namespace}:", pods]
    for row in pods.splitlines():
        columns = row.split()
        if len(columns) > 2 and not _well(columns[1], columns[2]):
            said = _try(
                cluster, "logs", "-n", namespace, columns[0], f"--tail={LOG_LINES}", "--all-containers"
            )
            lines += [f"The end of the log of {columns[0]}:", said]
    columns_wanted = "WHEN:.lastTimestamp,REASON:.reason,ABOUT:.involvedObject.name,MESSAGE:.message"
    chosen = ("--field-selector=type=Warning", "--sort-by=.lastTimestamp")
    warnings = _try(
        cluster, "get", "events", "-n", namespace, *chosen, "-o", f"custom-columns={columns_wanted}"
    )
    lines += [f"Latest warnings in {namespace}:", "\n".join(warnings.splitlines()[-10:])]
    return "\n".join(lines)


def _well(ready: str, phase: str) -> bool:
    have, _, want = ready.partition("/")
    return phase == "Completed" or (phase == "Running" and have == want)


def _try(cluster: Cluster, *arguments: str) -> str:
    try:
        return cluster.kubectl(*arguments, timeout=20).strip()
    except CommandError as error:
        return f"(kubectl {arguments[0]} did not answer: {error})"
