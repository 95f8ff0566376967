"""A certificate authority for one test."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.support.cluster_tool import ensure_program
from tests.support.proxy import Certificates


def make_certificates(directory: Path) -> Certificates:
    """Make an authority and two certificates below it with the `openssl` program."""
    directory.mkdir(parents=True, exist_ok=True)
    program = ensure_program("openssl", "openssl")

    def openssl(*arguments: str | Path) -> None:
        subprocess.run([program, *map(str, arguments)], check=True, capture_output=True, timeout=60)

    ca, ca_key = directory / "ca.pem", directory / "ca.key"
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    usage = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
    openssl(
        "req",
        "-x509",
        *curve,
        *usage,
        "-keyout",
        ca_key,
        "-out",
        ca,
        "-days",
        "2",
        "-subj",
        "/CN=test authority",
    )
    for name, extension in (
        ("server", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
        ("client", "extendedKeyUsage=clientAuth"),
    ):
        request, key, cert = (directory / f"{name}.{kind}" for kind in ("csr", "key", "pem"))
        extra = directory / f"{name}.ext"
        extra.write_text(
            f"{extension}\nauthorityKeyIdentifier=keyid\nsubjectKeyIdentifier=hash\nbasicConstraints=CA:FALSE\n"
        )
        openssl("req", *curve, "-keyout", key, "-out", request, "-subj", f"/CN={name}")
        signer = ("-CA", ca, "-CAkey", ca_key, "-CAcreateserial", "-days", "2", "-extfile", extra)
        openssl("x509", "-req", "-in", request, "-out", cert, *signer)
    return Certificates(
        ca=ca,
        server_cert=directory / "server.pem",
        server_key=directory / "server.key",
        client_cert=directory / "client.pem",
        client_key=directory / "client.key",
    )
