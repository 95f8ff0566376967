"""Credentials from a program that a kubeconfig names (client.authentication.k8s.io)."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

SECONDS: Final = 120.0
"""Somebody may have to log in with a browser."""

_CLUSTER_FIELDS: Final = (
    "server",
    "tls-server-name",
    "insecure-skip-tls-verify",
    "certificate-authority-data",
    "proxy-url",
)


def run_plugin(settings: Mapping[str, Any], cluster: Mapping[str, Any], directory: Path) -> dict[str, Any]:
    """Return what the program answers, as fields of a kubeconfig's user.

    Args:
        settings: `user.exec` of the kubeconfig.
        cluster: The cluster's entry, which is passed on where `provideClusterInfo` is set.
        directory: That of the kubeconfig; a command with a relative path starts there.

    Raises:
        ValueError: It cannot be run, failed, or answered something else; the message says what to do.
    """
    command = str(settings["command"])
    if os.sep in command:
        command = str(directory / command)
    extra = {entry["name"]: entry["value"] for entry in settings.get("env") or ()}
    environment = {**os.environ, **extra, "KUBERNETES_EXEC_INFO": json.dumps(_request(settings, cluster))}
    interactive = settings.get("interactiveMode") != "Never" and sys.stdin is not None and sys.stdin.isatty()
    try:
        done = subprocess.run(
            [command, *map(str, settings.get("args") or ())],
            env=environment,
            stdin=None if interactive else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            timeout=SECONDS,
            check=False,
        )
    except FileNotFoundError as error:
        hint = settings.get("installHint") or "install it, or correct user.exec.command"
        raise ValueError(f"its program for credentials, {command}, is not there: {hint}") from error
    except subprocess.TimeoutExpired as error:
        raise ValueError(
            f"its program for credentials, {command}, did not end within {SECONDS:.0f} s"
        ) from error
    if done.returncode:
        raise ValueError(f"its program for credentials, {command}, ended with code {done.returncode}")
    return _fields(command, done.stdout)


def _request(settings: Mapping[str, Any], cluster: Mapping[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = {"interactive": settings.get("interactiveMode") != "Never"}
    if settings.get("provideClusterInfo"):
        spec["cluster"] = {name: cluster[name] for name in _CLUSTER_FIELDS if name in cluster}
    return {"apiVersion": settings["apiVersion"], "kind": "ExecCredential", "spec": spec}


def _fields(command: str, said: bytes) -> dict[str, Any]:
    try:
        status = json.loads(said)["status"]
    except (ValueError, KeyError, TypeError):
        status = None
    if not isinstance(status, dict) or not ({"token", "clientCertificateData"} & set(status)):
        raise ValueError(
            f"its program for credentials, {command}, did not print an ExecCredential with status.token or "
            "status.clientCertificateData: run it by hand to see why"
        )
    fields: dict[str, Any] = {"token": status["token"]} if status.get("token") else {}
    for ours, its in (
        ("client-certificate-data", "clientCertificateData"),
        ("client-key-data", "clientKeyData"),
    ):
        if status.get(its):
            fields[ours] = base64.b64encode(status[its].encode()).decode()
    return fields
