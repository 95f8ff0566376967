"""Who a proxy is: the user of a kubeconfig towards the API server, a server of its own towards the client."""

from __future__ import annotations

import atexit
import base64
import shutil
import ssl
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.support.certificates import make_certificates
from tests.support.cluster_tool import Cluster
from tests.support.proxy import Certificates


class Identity:
    """The TLS of both sides of a proxy before a cluster.

    A user with a client certificate has to show it to the proxy, which shows the same to the API server.
    Tokens are in headers, which the proxy passes on.
    """

    def __init__(self, plane: Cluster) -> None:
        self.server = plane.server
        self._plane = plane
        config: dict[str, Any] = yaml.safe_load(plane.kubeconfig.read_text())
        context = next(c["context"] for c in config["contexts"] if c["name"] == config["current-context"])
        self._user: dict[str, Any] = next(u["user"] for u in config["users"] if u["name"] == context["user"])
        cluster = next(c["cluster"] for c in config["clusters"] if c["name"] == context["cluster"])
        self._authority = _pem(plane.kubeconfig, cluster, "certificate-authority")

    @property
    def has_certificate(self) -> bool:
        """Whether the user has a client certificate."""
        return bool({"client-certificate", "client-certificate-data"} & set(self._user))

    def to_server(self) -> ssl.SSLContext:
        """For the connections to the API server."""
        if self.has_certificate:
            return self._plane.ssl_context()
        return ssl.create_default_context(cadata=self._authority)

    def to_client(self) -> ssl.SSLContext:
        """For the connections that the proxy accepts."""
        context = _own().server_context()
        if self.has_certificate:
            context.load_verify_locations(cadata=self._authority)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def write_kubeconfig(self, path: Path, server: str) -> None:
        """The same user, at the proxy."""
        user = {
            key: str((self._plane.kubeconfig.parent / value).resolve())
            if key in ("client-certificate", "client-key", "tokenFile")
            else value
            for key, value in self._user.items()
        }
        authority = base64.b64encode(_own().ca.read_bytes()).decode()
        cluster = {"server": server, "certificate-authority-data": authority}
        path.touch(mode=0o600)
        path.write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "clusters": [{"name": "c", "cluster": cluster}],
                    "users": [{"name": "u", "user": user}],
                    "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                    "current-context": "c",
                }
            )
        )


def _pem(kubeconfig: Path, entry: dict[str, Any], key: str) -> str:
    if data := entry.get(f"{key}-data"):
        return base64.b64decode(data).decode()
    return Path(kubeconfig.parent / entry[key]).read_text()


@cache
def _own() -> Certificates:
    """The proxies' own certificate, made once a process."""
    directory = Path(tempfile.mkdtemp(prefix="faulty-api-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return make_certificates(directory)
