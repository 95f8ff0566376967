"""The fault proxy itself: who it is to both sides, and that a seed gives the same faults again."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from aiohttp import web

from tests.support.certificates import make_certificates
from tests.support.cluster_tool import Cluster
from tests.support.faults.identity import Identity
from tests.support.faults.plan import FaultPlan
from tests.support.faulty_api import FaultyApi
from tests.support.prometheus import free_port
from tests.support.proxy import Certificates

EVENTS = 40
PODS = "/api/v1/namespaces/ns/pods"


class Upstream:
    """What stands for an API server: it tells who asked, and its watches have forty events."""

    def __init__(self, certificates: Certificates) -> None:
        self.certificates = certificates
        self.port = free_port()
        self.writes: Counter[str] = Counter()
        self.queries: list[dict[str, str]] = []
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)

    async def start(self) -> None:
        """Serve with TLS; a client certificate is looked at where there is one."""
        context = self.certificates.server_context()
        context.load_verify_locations(self.certificates.ca)
        context.verify_mode = ssl.CERT_OPTIONAL
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=context).start()

    async def stop(self) -> None:
        """Stop serving."""
        await self._runner.cleanup()
        await asyncio.sleep(0.25)  # for the end of its TLS connections

    def cluster(self, directory: Path, user: dict[str, Any]) -> Cluster:
        """The cluster as this user sees it."""
        path = directory / "kubeconfig"
        server = {
            "server": f"https://127.0.0.1:{self.port}",
            "certificate-authority": str(self.certificates.ca),
        }
        content = {
            "clusters": [{"name": "c", "cluster": server}],
            "users": [{"name": "u", "user": user}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "c",
        }
        path.write_text(yaml.safe_dump(content))
        return Cluster(name="upstream", kubeconfig=path)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.queries.append(dict(request.query))
        if request.method != "GET":
            self.writes[request.path] += 1
        if "watch" not in request.query:
            peer = request.transport.get_extra_info("peercert") if request.transport else None
            return web.json_response(
                {"peer": str(peer or ""), "authorization": request.headers.get("Authorization", "")}
            )
        response = web.StreamResponse()
        await response.prepare(request)
        for number in range(1, EVENTS + 1):
            event = {
                "type": "MODIFIED",
                "object": {"metadata": {"name": "p", "resourceVersion": str(number)}},
            }
            await response.write(json.dumps(event).encode() + b"\n")
            await asyncio.sleep(0.002)
        return response


@pytest.fixture
async def upstream(tmp_path: Path) -> AsyncIterator[Upstream]:
    """Running."""
    server = Upstream(make_certificates(tmp_path / "pki"))
    await server.start()
    yield server
    await server.stop()


@contextmanager
def entered(proxy: FaultyApi) -> Iterator[str]:
    """Its address while it runs."""
    with proxy:
        config = yaml.safe_load(proxy.kubeconfig.read_text())
        yield config["clusters"][0]["cluster"]["server"]


def trusting(proxy: FaultyApi) -> ssl.SSLContext:
    """What the proxy's kubeconfig says to trust and to show."""
    return Identity(Cluster(name="proxy", kubeconfig=proxy.kubeconfig)).to_server()


def certificate_user(certificates: Certificates) -> dict[str, str]:
    """The user of a kubeconfig with a client certificate."""
    return {"client-certificate": str(certificates.client_cert), "client-key": str(certificates.client_key)}


async def ask(method: str, url: str, tls: ssl.SSLContext, **more: Any) -> tuple[int, Any]:
    """Status and JSON of one request."""
    connector = aiohttp.TCPConnector(ssl=tls)
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.request(method, url, **more) as answer,
    ):
        found = answer.status, await answer.json()
    await asyncio.sleep(0.05)
    return found


async def watched(url: str, tls: ssl.SSLContext) -> list[int]:
    """Versions of the events of one watch, until it ends; -1 where it broke."""
    lines: list[bytes] = []
    end = []
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls)) as session:
        try:
            async with session.get(f"{url}{PODS}?watch=1") as answer:
                async for line in answer.content:
                    lines.append(line)  # noqa: PERF401 - what came before the end counts
        except aiohttp.ClientError:
            end = [-1]
    await asyncio.sleep(0.05)
    return [int(json.loads(line)["object"]["metadata"]["resourceVersion"]) for line in lines] + end


async def test_a_bearer_token_is_passed_on_and_no_certificate_is_shown(
    upstream: Upstream, tmp_path: Path
) -> None:
    proxy = FaultyApi(upstream.cluster(tmp_path, {"token": "secret"}), tmp_path)
    with entered(proxy) as url:
        headers = {"Authorization": "Bearer secret"}
        _, seen = await ask("GET", f"{url}{PODS}", trusting(proxy), headers=headers)
    assert seen == {"peer": "", "authorization": "Bearer secret"}


async def test_a_client_certificate_is_demanded_and_shown_to_the_api_server(
    upstream: Upstream, tmp_path: Path
) -> None:
    user = certificate_user(upstream.certificates)
    proxy = FaultyApi(upstream.cluster(tmp_path, user), tmp_path)
    with entered(proxy) as url:
        _, seen = await ask("GET", f"{url}{PODS}", trusting(proxy))
        assert "client" in seen["peer"]
        without = ssl.create_default_context(cadata=_authority(proxy))
        with pytest.raises((aiohttp.ClientError, OSError)):
            await ask("GET", f"{url}{PODS}", without)


def _authority(proxy: FaultyApi) -> str:
    config = yaml.safe_load(proxy.kubeconfig.read_text())
    return base64.b64decode(config["clusters"][0]["cluster"]["certificate-authority-data"]).decode()


@pytest.mark.parametrize(
    ("rates", "check"),
    [
        ({"lose": 0.2}, lambda seen: len(seen) < EVENTS and seen == sorted(seen)),
        ({"duplicate": 0.3}, lambda seen: len(seen) > EVENTS and set(seen) == set(range(1, EVENTS + 1))),
        ({"swap": 0.3}, lambda seen: seen != sorted(seen) and sorted(seen) == list(range(1, EVENTS + 1))),
        ({"cut": 0.1}, lambda seen: seen[-1] == -1 and len(seen) < EVENTS),
    ],
    ids=["lose", "duplicate", "swap", "cut"],
)
async def test_a_seed_gives_the_same_faults_of_a_watch_again(
    upstream: Upstream, tmp_path: Path, rates: dict[str, float], check: Any
) -> None:
    cluster, runs = upstream.cluster(tmp_path, {"token": "secret"}), []
    for seed in (5, 5, 6):
        proxy = FaultyApi(cluster, tmp_path, plan=FaultPlan(seed, rates))
        with entered(proxy) as url:
            runs.append(await watched(url, trusting(proxy)))
        assert proxy.plan.counts.total() > 0, proxy.plan.report()
    assert runs[0] == runs[1] != runs[2]
    assert check(runs[0]), runs[0]


async def test_a_stale_list_is_asked_for_as_of_a_version_that_was_seen(
    upstream: Upstream, tmp_path: Path
) -> None:
    plan = FaultPlan(1, {"stale-list": 1.0})
    proxy = FaultyApi(upstream.cluster(tmp_path, {"token": "secret"}), tmp_path, plan=plan)
    with entered(proxy) as url:
        await watched(url, trusting(proxy))
        await asyncio.sleep(1.2)
        await ask("GET", f"{url}{PODS}", trusting(proxy), params={"limit": "250"})
        await ask("GET", f"{url}{PODS}/one", trusting(proxy))
    listed, one = upstream.queries[-2:]
    assert 1 <= int(listed.pop("resourceVersion")) <= EVENTS
    assert listed == {"limit": "250", "resourceVersionMatch": "Exact"}
    assert one == {}


@pytest.mark.parametrize(("kind", "arrived"), [("crash-before", 0), ("crash-after", 1)])
async def test_a_crash_comes_before_a_write_leaves_or_after_it_was_done(
    upstream: Upstream, tmp_path: Path, kind: str, arrived: int
) -> None:
    plan = FaultPlan(1, {kind: 1.0}, at_most={kind: 1})
    proxy = FaultyApi(upstream.cluster(tmp_path, {"token": "secret"}), tmp_path, plan=plan)
    crashes: list[int] = []
    proxy.crash = lambda: crashes.append(upstream.writes.total())
    with entered(proxy) as url:
        with pytest.raises(aiohttp.ClientError):
            await ask("POST", f"{url}{PODS}", trusting(proxy), json={})  # aiohttp repeats a PUT
        assert crashes == [arrived]
        status, _ = await ask("POST", f"{url}{PODS}", trusting(proxy), json={})
        assert status == 200
    assert "POST pods, number 1" in plan.report()


def test_unknown_kinds_of_faults_are_refused() -> None:
    with pytest.raises(ValueError, match="expected faults out of"):
        FaultPlan(1, {"earthquake": 1.0})


def test_leases_are_exempt() -> None:
    plan = FaultPlan(1, {"error-before": 1.0})
    assert not plan.happens("error-before", "PUT", "leases")
    assert plan.happens("error-before", "PUT", "deployments/scale")
