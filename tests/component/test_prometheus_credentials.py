"""Logging in to Prometheus behind a real guard: bearer, basic, TLS, client certificates, and their
rotation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelrollout.prometheus import FailureKind, PrometheusClient, PrometheusError, PrometheusTargets
from modelrollout.prometheus import session as session_module
from tests.support.certificates import make_certificates
from tests.support.prometheus import Prometheus
from tests.support.proxy import Certificates, Guard, Rules
from tests.support.queries import CountingHooks


@pytest.fixture(scope="module")
def prometheus() -> Iterator[Prometheus]:
    with Prometheus.start() as running:
        yield running


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for rotated files at every request instead of once a second."""
    monkeypatch.setattr(session_module, "_RECHECK_SECONDS", 0.0)


def client_for(url: str, hooks: CountingHooks | None = None, **settings: Any) -> PrometheusClient:
    targets = PrometheusTargets.from_mapping({"default": {"url": url, **settings}})
    return PrometheusClient(targets.get("default"), hooks)


def asks(client: PrometheusClient) -> list[Any]:
    try:
        return client.query("vector(1)")
    finally:
        client.close()


def replace_file(path: Path, text: str) -> None:
    """As the kubelet does: another file takes the name."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


def test_a_bearer_token_is_sent_and_read_again_after_rotation(
    prometheus: Prometheus, tmp_path: Path, at_once: None
) -> None:
    token = tmp_path / "token"
    token.write_text("first\n")
    rules = Rules(token="first")
    with Guard(prometheus.url, rules) as guard:
        client = client_for(guard.url, bearerTokenFile=str(token))
        assert client.query("vector(1)")[0]["value"][1] == "1"
        rules.token = "second"
        with pytest.raises(PrometheusError, match=r"refused the operator's credentials \(401\)") as refused:
            client.query("vector(1)")
        assert refused.value.kind is FailureKind.UNAUTHORIZED
        replace_file(token, "second\n")
        assert client.query("vector(1)")
        client.close()


def test_basic_authentication(prometheus: Prometheus, tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("gräßlich: secret\n")
    with Guard(prometheus.url, Rules(basic=("operator", "gräßlich: secret"))) as guard:
        assert asks(client_for(guard.url, username="operator", passwordFile=str(password)))


def test_no_credentials_are_refused_with_what_to_check(prometheus: Prometheus) -> None:
    refused = pytest.raises(PrometheusError, match="check its entry in the operator's settings")
    with Guard(prometheus.url, Rules(token="x")) as guard, refused:
        asks(client_for(guard.url))


def test_a_missing_credential_file_is_named(prometheus: Prometheus, tmp_path: Path) -> None:
    missing = tmp_path / "nowhere"
    with pytest.raises(PrometheusError, match=r"nowhere.*check that the Secret is mounted") as failed:
        asks(client_for(prometheus.url, bearerTokenFile=str(missing)))
    assert failed.value.kind is FailureKind.UNAUTHORIZED


def test_the_servers_certificate_is_checked_against_the_given_authority(
    prometheus: Prometheus, certificates: Certificates, tmp_path: Path
) -> None:
    with Guard(prometheus.url, Rules(), context=certificates.server_context()) as guard:
        assert asks(client_for(guard.url, caFile=str(certificates.ca)))
        assert asks(client_for(guard.url, insecureSkipVerify=False, caFile=str(certificates.ca)))
        with pytest.raises(PrometheusError, match=r"TLS failed .*check caFile") as failed:
            asks(client_for(guard.url))
        assert failed.value.kind is FailureKind.UNAUTHORIZED
        other = make_certificates(tmp_path / "other")
        with pytest.raises(PrometheusError, match="TLS failed"):
            asks(client_for(guard.url, caFile=str(other.ca)))


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_checking_can_be_switched_off(prometheus: Prometheus, certificates: Certificates) -> None:
    with Guard(prometheus.url, Rules(), context=certificates.server_context()) as guard:
        assert asks(client_for(guard.url, insecureSkipVerify=True))


def test_a_rotated_authority_is_taken(
    prometheus: Prometheus, certificates: Certificates, tmp_path: Path, at_once: None
) -> None:
    other = make_certificates(tmp_path / "other")
    ca = tmp_path / "ca.pem"
    ca.write_text(other.ca.read_text())
    with Guard(prometheus.url, Rules(), context=certificates.server_context()) as guard:
        client = client_for(guard.url, caFile=str(ca))
        with pytest.raises(PrometheusError, match="TLS failed"):
            client.query("vector(1)")
        replace_file(ca, certificates.ca.read_text())
        assert client.query("vector(1)")
        client.close()


def test_a_client_certificate_is_shown(prometheus: Prometheus, certificates: Certificates) -> None:
    rules = Rules()
    context = certificates.server_context(demand_client=True)
    with Guard(prometheus.url, rules, context=context) as guard:
        shown: dict[str, Any] = {
            "certFile": str(certificates.client_cert),
            "keyFile": str(certificates.client_key),
        }
        assert asks(client_for(guard.url, caFile=str(certificates.ca), **shown))
        assert "client" in rules.seen[-1]["peer"]
        with pytest.raises(PrometheusError) as failed:
            asks(client_for(guard.url, caFile=str(certificates.ca)))
        assert failed.value.is_outage


def test_a_redirect_is_not_followed_with_the_credentials(prometheus: Prometheus, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret")
    thief = Rules()
    with Guard(prometheus.url, thief) as elsewhere:
        rules = Rules(token="secret", answer=(302, {"Location": f"{elsewhere.url}/login"}, b""))
        told = pytest.raises(PrometheusError, match=r"redirects to .*/login .302.: put that address")
        with Guard(prometheus.url, rules) as guard, told:
            asks(client_for(guard.url, bearerTokenFile=str(token)))
    assert thief.seen == []


def test_headers_for_a_multi_tenant_store_are_sent(prometheus: Prometheus) -> None:
    rules = Rules()
    with Guard(prometheus.url, rules) as guard:
        asks(client_for(guard.url, headers={"X-Scope-OrgID": "ml"}))
    assert rules.seen[0]["X-Scope-OrgID"] == "ml"
    assert rules.seen[0]["path"] == "/api/v1/query"


def test_neither_a_proxy_nor_a_netrc_of_the_environment_is_used(
    prometheus: Prometheus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert asks(client_for(prometheus.url))


@pytest.mark.parametrize(
    ("answer", "said", "kind"),
    [
        ((200, {}, b"<html>hello</html>"), "did not answer as Prometheus does", FailureKind.SERVER),
        ((200, {}, b'{"ok": true}'), "expected JSON with data.result", FailureKind.SERVER),
        ((200, {}, b"[]"), "did not answer as Prometheus does", FailureKind.SERVER),
        (
            (404, {}, b"page not found"),
            "answered 404 'page not found': check the address",
            FailureKind.SERVER,
        ),
        ((500, {}, b"oops"), "answered 500 'oops': see its log", FailureKind.SERVER),
        ((403, {}, b""), "refused the operator's credentials (403)", FailureKind.UNAUTHORIZED),
        ((413, {}, b""), "finds the query too long", FailureKind.BAD_QUERY),
    ],
)
def test_strange_answers_are_explained(
    prometheus: Prometheus, answer: tuple[int, dict[str, str], bytes], said: str, kind: FailureKind
) -> None:
    with Guard(prometheus.url, Rules(answer=answer)) as guard, pytest.raises(PrometheusError) as failed:
        asks(client_for(guard.url))
    assert said in str(failed.value)
    assert failed.value.kind is kind


def test_one_retry_bridges_a_hiccup_and_no_more(prometheus: Prometheus) -> None:
    rules, hooks = Rules(fail_next=1), CountingHooks()
    with Guard(prometheus.url, rules) as guard:
        client = client_for(guard.url, hooks)
        assert client.query("vector(1)")
        assert len(rules.seen) == 2
        rules.fail_next = 10
        with pytest.raises(PrometheusError, match="503"):
            client.query("vector(1)")
        client.close()
    assert len(rules.seen) == 4
    assert (hooks.count(error=None), hooks.count(error="server")) == (1, 1)
