"""Whatever a broken connection raises is an API server that does not answer."""

from __future__ import annotations

import asyncio

import pytest
from kubernetes.aio.client.configuration import Configuration

from modelrollout.cluster.client import KubeApi
from modelrollout.cluster.errors import ApiUnavailableError


@pytest.mark.parametrize("error", [RuntimeError("File descriptor 19 is used by transport"), OSError("reset")])
async def test_a_connection_that_breaks_is_unavailable(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = KubeApi(Configuration(host="http://127.0.0.1:9"))

    async def broken(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(api, "_send", broken)
    with pytest.raises(ApiUnavailableError):
        await api.request("GET", "/x", attempts=1)
    with pytest.raises(ApiUnavailableError):
        async for _ in api.watch("/x", {}):
            pass
    await api.close()


async def test_two_requests_that_are_refused_at_once_renew_the_credentials_once() -> None:
    loads = 0

    async def reload() -> Configuration:
        nonlocal loads
        loads += 1
        await asyncio.sleep(0.01)
        return Configuration(host="http://127.0.0.1:9")

    api = KubeApi(Configuration(host="http://127.0.0.1:9"), reload=reload)
    await asyncio.gather(api._renew_credentials(), api._renew_credentials())
    assert loads == 1, "the session of the other one would never be closed"
    await api.close()
