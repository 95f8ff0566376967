"""The API server's address and the credentials for it, from the kubeconfig that kind writes."""

from __future__ import annotations

import base64
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml


@dataclass(frozen=True)
class Endpoint:
    """Where the API server is, and how to talk to it."""

    server: str
    context: ssl.SSLContext


def read(kubeconfig: Path) -> Endpoint:
    """Return the current context of a kubeconfig that embeds its certificates, as kind's does."""
    config: dict[str, Any] = yaml.safe_load(kubeconfig.read_text())
    names = _entry(config, "contexts", "context", config["current-context"])
    cluster = _entry(config, "clusters", "cluster", names["cluster"])
    user = _entry(config, "users", "user", names["user"])
    authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
    context = ssl.create_default_context(cadata=authority)
    pair = [base64.b64decode(user[f"client-{part}-data"]) for part in ("certificate", "key")]
    with tempfile.TemporaryDirectory() as directory:  # ssl loads a client certificate from files only
        file = Path(directory) / "client.pem"
        file.touch(mode=0o600)
        file.write_bytes(b"\n".join(pair))
        context.load_cert_chain(file)
    return Endpoint(server=str(cluster["server"]), context=context)


def _entry(config: dict[str, Any], section: str, kind: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(entry[kind] for entry in config[section] if entry["name"] == name)
    return found
