"""How to reach the API server, from a kubeconfig or from inside a pod, with the standard library alone.

The plugin uses it, so that it need not bring the client library (126 MB); the operator uses that library.
"""

from __future__ import annotations

import base64
import os
import ssl
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from modelrollout.cluster.errors import ApiError
from modelrollout.cluster.execcredential import run_plugin

Settings = Mapping[str, Any]
POD_CREDENTIALS: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")


@dataclass(frozen=True, kw_only=True)
class Access:
    """Address and credentials.

    Attributes:
        server: Address of the API server, without a slash at its end.
        headers: Sent with every request; a name may occur several times.
        tls: None for an http address.
        tls_server_name: Name in the server's certificate, where it is not that of the address.
        proxy: Address of an HTTP proxy that the kubeconfig names.
    """

    server: str
    headers: tuple[tuple[str, str], ...] = ()
    tls: ssl.SSLContext | None = None
    tls_server_name: str | None = None
    proxy: str | None = None


class _UnusableError(Exception):
    """What was expected in the file, and what was found."""


_UNUSABLE: Final = (_UnusableError, OSError, ValueError, KeyError, TypeError, AttributeError)
"""What a file raises that is not as it should be."""


def load(path: Path | None, context: str | None = None) -> Access:
    """Read a kubeconfig, or the service account of this pod where `path` is None.

    Runs the program that the kubeconfig names for credentials. Relative paths in it start at its directory.

    Raises:
        ApiError: It is not usable; the message says why.
    """
    try:
        return _from_pod() if path is None else _from_file(path, context)
    except (*_UNUSABLE, yaml.YAMLError) as error:
        wanted = f"kubeconfig {path}" if path else "the service account of this pod"
        text = (
            f"expected to reach the cluster by {wanted}, but it is not usable: {error}; "
            "set KUBECONFIG or run in a pod"
        )
        raise ApiError(0, "Configuration", text) from error


def _from_pod() -> Access:
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    token = (POD_CREDENTIALS / "token").read_text().strip()
    return Access(
        server=f"https://{f'[{host}]' if ':' in host else host}:{port}",
        headers=(("Authorization", f"Bearer {token}"),),
        tls=_tls({"certificate-authority": str(POD_CREDENTIALS / "ca.crt")}, {}, POD_CREDENTIALS),
    )


def _from_file(path: Path, context: str | None) -> Access:
    loaded = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    wanted = context or loaded.get("current-context")
    if not wanted:
        raise _UnusableError("it has no current-context")
    chosen = _named(loaded, "contexts", "context", wanted)
    cluster = _named(loaded, "clusters", "cluster", chosen.get("cluster"))
    user = dict(_named(loaded, "users", "user", chosen["user"]) if chosen.get("user") else {})
    server = str(cluster.get("server") or "").rstrip("/")
    if not server.startswith(("https://", "http://")):
        raise _UnusableError(
            f"cluster {chosen.get('cluster')!r} has server {server!r}, expected an https address"
        )
    if "exec" in user:
        user |= run_plugin(user["exec"], cluster, path.parent)
    return Access(
        server=server,
        headers=tuple(_headers(user, path.parent)),
        tls=_tls(cluster, user, path.parent) if server.startswith("https://") else None,
        tls_server_name=cluster.get("tls-server-name"),
        proxy=cluster.get("proxy-url"),
    )


def _named(loaded: Settings, section: str, key: str, name: object) -> Settings:
    for entry in loaded.get(section) or ():
        if entry.get("name") == name:
            return dict(entry.get(key) or {})
    raise _UnusableError(f"it has no entry {name!r} in {section}")


def _headers(user: Settings, directory: Path) -> Iterator[tuple[str, str]]:
    if "tokenFile" in user:
        yield "Authorization", f"Bearer {(directory / user['tokenFile']).read_text().strip()}"
    elif user.get("token"):
        yield "Authorization", f"Bearer {user['token']}"
    elif "username" in user:
        pair = f"{user['username']}:{user.get('password', '')}"
        yield "Authorization", f"Basic {base64.b64encode(pair.encode()).decode()}"
    elif "auth-provider" in user:
        raise _UnusableError(
            "its user has an auth-provider, which this plugin does not know: give it an exec plugin instead"
        )
    if "as" in user:
        yield "Impersonate-User", str(user["as"])
    if "as-uid" in user:
        yield "Impersonate-Uid", str(user["as-uid"])
    for group in user.get("as-groups") or ():
        yield "Impersonate-Group", str(group)
    for name, values in (user.get("as-user-extra") or {}).items():
        for value in values:
            yield f"Impersonate-Extra-{name}", str(value)


def _tls(cluster: Settings, user: Settings, directory: Path) -> ssl.SSLContext:
    authority = _content(cluster, "certificate-authority", directory)
    tls = ssl.create_default_context(cadata=authority.decode() if authority else None)
    # Python 3.13 refuses certificates without extensions that clusters' own authorities often leave out.
    tls.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if cluster.get("insecure-skip-tls-verify"):
        tls.check_hostname = False
        tls.verify_mode = ssl.CERT_NONE
    certificate = _content(user, "client-certificate", directory)
    if certificate is not None:
        with _private_file(certificate) as certificate_file:
            key = _content(user, "client-key", directory)
            if key is None:
                tls.load_cert_chain(certificate_file)
            else:
                with _private_file(key) as key_file:
                    tls.load_cert_chain(certificate_file, key_file)
    return tls


def _content(settings: Settings, name: str, directory: Path) -> bytes | None:
    if data := settings.get(f"{name}-data"):
        return base64.b64decode(data)
    return (directory / settings[name]).read_bytes() if settings.get(name) else None


@contextmanager
def _private_file(content: bytes) -> Iterator[Path]:
    """Yield a file that only this user can read, for as long as OpenSSL reads it."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "pem"
        path.touch(mode=0o600)
        path.write_bytes(content)
        yield path
