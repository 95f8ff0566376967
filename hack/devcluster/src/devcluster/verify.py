"""Proof that a kind cluster works, by what answers contain.

Ready nodes and rolled-out Deployments prove nothing about Services: kube-proxy can fail every sync while all
looks green, and a connection to an address that nobody programmed may even succeed with an empty answer.
"""

from __future__ import annotations

import ipaddress
import json
import struct
import time
from collections.abc import Callable, Sequence

from devcluster.cluster import Cluster
from devcluster.docker import Docker
from devcluster.errors import CommandError, NotReadyError

_QUERY_ID = 0x4D52
_TIMEOUT_SECONDS = 120.0
_DOMAIN = "kubernetes.default.svc.cluster.local"


def prove(docker: Docker, cluster: Cluster, nodes: Sequence[str]) -> None:
    """From every node.

    A Service's address must give the API server's version, and DNS that Service's address.

    NotReadyError with the last answer if either fails for two minutes.
    """
    cluster.wait("condition=Ready", "node", "--all", timeout=_TIMEOUT_SECONDS)
    service = cluster.get("service", "kubernetes", "-n", "default")["spec"]["clusterIP"]
    resolver = cluster.get("service", "kube-dns", "-n", "kube-system")["spec"]["clusterIP"]
    version = json.loads(cluster.kubectl("get", "--raw", "/version"))["gitVersion"]
    for node in nodes:
        _until(
            lambda node=node: _version(docker, node, service) == version,  # type: ignore[misc]
            f"{node}: https://{service}/version, a Service, to answer with {version}",
        )
        _until(
            lambda node=node: _resolve(docker, node, resolver) == service,  # type: ignore[misc]
            f"{node}: the DNS server {resolver} to answer {service} for {_DOMAIN}",
        )


def _until(holds: Callable[[], bool], what: str) -> None:
    deadline, last = time.monotonic() + _TIMEOUT_SECONDS, "another answer"
    while time.monotonic() < deadline:
        try:
            if holds():
                return
        except (CommandError, ValueError, struct.error, IndexError) as error:
            last = str(error)
        time.sleep(0.25)
    raise NotReadyError(f"expected on {what} within {_TIMEOUT_SECONDS:.0f} s, saw: {last}")


def _version(docker: Docker, node: str, address: str) -> str:
    body = docker.run(
        "exec",
        node,
        "curl",
        "-sS",
        # Only this cluster's own API server has a certificate of its CA: a stranger's answer proves nothing.
        "--cacert",
        "/etc/kubernetes/pki/ca.crt",
        "--max-time",
        "3",
        f"https://{address}/version",
        timeout=30,
    )
    return str(json.loads(body)["gitVersion"])


def _resolve(docker: Docker, node: str, resolver: str) -> str:
    """Ask over TCP with bash alone: a node has no DNS client that takes the server's address."""
    escaped = "".join(f"\\x{byte:02x}" for byte in dns_query(_DOMAIN))
    # One read: the server keeps the connection open, and a reader that waited for its end would wait in vain.
    read = "timeout 3 dd bs=512 count=1 status=none <&3 | od -An -v -tx1"
    script = f"exec 3<>/dev/tcp/{resolver}/53; printf '{escaped}' >&3; {read}"
    answer = docker.run("exec", node, "timeout", "4", "bash", "-c", script, timeout=30)
    return dns_address(bytes.fromhex("".join(answer.split())))


def dns_query(name: str) -> bytes:
    """Return a DNS question for the IPv4 address of a name, framed for TCP (RFC 1035, 4.2.2)."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    message = struct.pack(">6H", _QUERY_ID, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">2H", 1, 1)
    return struct.pack(">H", len(message)) + message


def dns_address(answer: bytes) -> str:
    """Return the first IPv4 address in a DNS answer as it comes over TCP; ValueError if there is none."""
    if len(answer) < 14 or struct.unpack_from(">H", answer, 2)[0] != _QUERY_ID:
        raise ValueError(f"expected an answer to our DNS question, got {answer[:32].hex() or 'nothing'}")
    _, _, flags, questions, answers = struct.unpack_from(">5H", answer)
    if flags & 0x000F or answers == 0:
        raise ValueError(f"the DNS server answered with code {flags & 0x000F} and {answers} records")
    position = 14
    for _ in range(questions):
        position = _after_name(answer, position) + 4
    for _ in range(answers):
        position = _after_name(answer, position)
        kind, _, _, length = struct.unpack_from(">2HIH", answer, position)
        position += 10
        if kind == 1 and length == 4:
            return str(ipaddress.IPv4Address(answer[position : position + 4]))
        position += length
    raise ValueError("the DNS server answered without an IPv4 address")


def _after_name(message: bytes, position: int) -> int:
    while message[position]:
        if message[position] & 0xC0:  # a pointer to an earlier name ends this one
            return position + 2
        position += message[position] + 1
    return position + 1
