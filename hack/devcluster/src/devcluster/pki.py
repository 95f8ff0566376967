"""A certificate authority of its own for each control plane, by the openssl program."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from devcluster.apt import ensure_program
from devcluster.processes import run

_DAYS = "3650"


@dataclass(frozen=True)
class KeyPair:
    """PEM files of a certificate and its private key."""

    certificate: Path
    key: Path


@dataclass(frozen=True)
class Request:
    """One certificate to sign.

    A server's if it has alternative names, else a client's (`groups` are its O's).
    """

    name: str
    common_name: str
    groups: tuple[str, ...] = ()
    alternative_names: tuple[str, ...] = ()


class Authority:
    """A CA in `directory`; its key never leaves it."""

    def __init__(self, directory: Path) -> None:
        """Make the directory (readable by its owner only) and the CA's self-signed certificate."""
        ensure_program("openssl", "openssl")
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.directory = directory
        self.pair = KeyPair(directory / "ca.crt", directory / "ca.key")
        self._openssl(
            self.pair,
            "/CN=devcluster CA",
            ["-addext", "keyUsage=critical,keyCertSign,cRLSign,digitalSignature"],
        )

    def sign_all(self, requests: Sequence[Request]) -> dict[str, KeyPair]:
        """Sign the requests side by side; by name."""
        with ThreadPoolExecutor(max_workers=4) as pool:
            return dict(zip([r.name for r in requests], pool.map(self._sign, requests), strict=True))

    def _sign(self, request: Request) -> KeyPair:
        pair = KeyPair(self.directory / f"{request.name}.crt", self.directory / f"{request.name}.key")
        subject = "".join(f"/O={group}" for group in request.groups) + f"/CN={request.common_name}"
        usage = "serverAuth" if request.alternative_names else "clientAuth"
        extensions = ["-addext", "basicConstraints=critical,CA:false", "-addext", f"extendedKeyUsage={usage}"]
        if request.alternative_names:
            extensions += ["-addext", "subjectAltName=" + ",".join(request.alternative_names)]
        signer = ["-CA", str(self.pair.certificate), "-CAkey", str(self.pair.key)]
        self._openssl(pair, subject, [*signer, *extensions])
        return pair

    @staticmethod
    def _openssl(pair: KeyPair, subject: str, extra: list[str]) -> None:
        run(
            [
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-noenc",
                "-days",
                _DAYS,
                "-subj",
                subject,
                "-keyout",
                pair.key,
                "-out",
                pair.certificate,
                *extra,
            ],
            timeout=30,
        )


def token_key(directory: Path) -> KeyPair:
    """Return the key pair that signs service account tokens; `certificate` is the public key."""
    pair = KeyPair(directory / "sa.pub", directory / "sa.key")
    run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", pair.key], timeout=30)
    run(["openssl", "ec", "-in", pair.key, "-pubout", "-out", pair.certificate], timeout=30)
    return pair


def write_kubeconfig(path: Path, *, server: str, ca: Path, client: KeyPair, context: str) -> Path:
    """Return a kubeconfig with everything inside (JSON, so also valid YAML)."""

    def inline(file: Path) -> str:
        return base64.b64encode(file.read_bytes()).decode()

    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": context, "cluster": {"server": server, "certificate-authority-data": inline(ca)}}
        ],
        "users": [
            {
                "name": context,
                "user": {
                    "client-certificate-data": inline(client.certificate),
                    "client-key-data": inline(client.key),
                },
            }
        ],
        "contexts": [{"name": context, "context": {"cluster": context, "user": context}}],
        "current-context": context,
    }
    path.touch(mode=0o600)
    path.write_text(json.dumps(content, indent=1))
    return path
