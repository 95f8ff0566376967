"""Settings: flags win over the environment, and what is unusable is said in a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelrollout.operator.main import main
from modelrollout.operator.settings import SettingsError, load_settings

URL = {"MODELROLLOUT_PROMETHEUS_URL": "http://prometheus:9090"}


def test_the_defaults() -> None:
    settings = load_settings([], URL)
    assert settings.scopes == (None,)
    assert settings.leader_election
    assert (settings.port, settings.log_format) == (8080, "json")
    assert settings.prometheus == {"default": {"url": "http://prometheus:9090"}}
    assert settings.kubeconfig is None


def test_flags_win_over_the_environment() -> None:
    environment = {**URL, "MODELROLLOUT_PORT": "9000", "MODELROLLOUT_LOG_FORMAT": "text"}
    settings = load_settings(["--port", "9001"], environment)
    assert (settings.port, settings.log_format) == (9001, "text")


def test_the_identity_survives_a_restart_of_the_container_and_is_else_unique() -> None:
    pod = {**URL, "POD_NAME": "operator-abc", "POD_NAMESPACE": "system"}
    settings = load_settings([], pod)
    assert (settings.identity, settings.lease_namespace) == ("operator-abc", "system")
    assert load_settings([], pod).identity == settings.identity
    assert load_settings([], URL).identity != load_settings([], URL).identity


def test_namespaces_and_hosts_are_lists() -> None:
    settings = load_settings(["--namespaces", "b, a,,b", "--notification-hosts", "hooks.example.com"], URL)
    assert settings.namespaces == ("a", "b")
    assert settings.notification_hosts == ("hooks.example.com",)


def test_several_servers_come_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "prometheus.yaml"
    path.write_text("default: {url: 'http://a'}\nlong-term: {url: 'http://b', caFile: /ca}\n")
    settings = load_settings(["--prometheus-config", str(path)], {})
    assert set(settings.prometheus) == {"default", "long-term"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--port", "many"], ["--port", "0 to 65535", "many"]),
        (["--port", "70000"], ["--port", "70000"]),
        (["--log-level", "loud"], ["--log-level", "debug", "loud"]),
        (["--leader-election", "perhaps"], ["--leader-election", "true", "perhaps"]),
        (["--stalled-after", "nan"], ["--stalled-after"]),
        (["--kubeconfig", "/nowhere/config"], ["/nowhere/config", "KUBECONFIG"]),
        (["--prometheus-url", ""], ["--prometheus-url", "neither"]),
        (["--prometheus-config", "/nowhere"], ["both"]),
        (["--prometheus-url", "prometheus:9090"], ["--prometheus-url", "http(s)://host"]),
        (["--prometheus-url", "", "--prometheus-config", "/nowhere"], ["/nowhere", "cannot be read"]),
    ],
)
def test_what_is_unusable_is_said(arguments: list[str], words: list[str]) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(arguments, URL)
    assert all(word in str(caught.value) for word in words), caught.value


def test_a_file_of_another_form_is_said(tmp_path: Path) -> None:
    path = tmp_path / "prometheus.yaml"
    path.write_text("default: http://a\n")
    with pytest.raises(SettingsError, match="entries with a url"):
        load_settings(["--prometheus-config", str(path)], {})


@pytest.mark.parametrize(
    ("credentials", "said"),
    [
        ("username: u", "both username and passwordFile"),
        ("passwordFile: p", "both username and passwordFile"),
        ("bearerTokenFile: t, username: u, passwordFile: p", "not both"),
        ("keyFile: k", "keyFile needs certFile"),
        ("caFile: c, insecureSkipVerify: true", "not both"),
    ],
)
def test_credentials_that_make_no_sense_are_one_sentence_and_no_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], credentials: str, said: str
) -> None:
    path = tmp_path / "prometheus.yaml"
    path.write_text(f"default: {{url: 'http://a', {credentials}}}\n")
    assert main(["--prometheus-url", "", "--prometheus-config", str(path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"modelrollout-operator: --prometheus-config {path} cannot be used: Prometheus")
    assert said in line


def test_the_program_says_it_and_ends_with_2(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MODELROLLOUT_PROMETHEUS_URL", "MODELROLLOUT_PROMETHEUS_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    assert main([]) == 2
    assert capsys.readouterr().err.startswith("modelrollout-operator: expected exactly one of")
