"""Settings: flags win over the environment, and what is unusable is said in a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelrollout.operator.main import main
from modelrollout.operator.settings import SettingsError, load_settings
from modelrollout.prometheus import PrometheusTarget

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


SECRET = "s3cr3t-Zx81"
SECRETIVE = {
    "authorization in an address": f"default: {{url: 'https://admin:{SECRET}@prometheus'}}",
    "token in a query": f"default: {{url: 'https://prometheus/?token={SECRET}'}}",
    "no address at all": f"default: {{url: 'Bearer {SECRET}'}}",
    "password with a slash": f"default: {{url: 'https://admin:{SECRET}/x@prometheus'}}",
    "port": f"default: {{url: 'https://prometheus:{SECRET}'}}",
    "entry without url": f"default: {{headers: {{Authorization: 'Bearer {SECRET}'}}}}",
    "lower case": f"default: {{headers: {{authorization: 'Bearer {SECRET}'}}}}",
    "another header": f"default: {{headers: {{X-Api-Key: {SECRET}}}}}",
    "at the top": f"Authorization: Bearer {SECRET}",
    "headers at the top": f"default: {{url: 'http://p'}}\nheaders: {{Authorization: Bearer {SECRET}}}",
    "a list": f"- url: http://p\n  headers: [Authorization, Bearer {SECRET}]",
    "text alone": f"Bearer {SECRET}",
    "headers as a list": f"default: {{url: 'http://p', headers: ['Authorization: Bearer {SECRET}']}}",
    "headers as a text": f"default: {{url: 'http://p', headers: 'Authorization: Bearer {SECRET}'}}",
    "header in one": f"default: {{url: 'http://p', headers: {{'Authorization: Bearer {SECRET}': null}}}}",
    "two lines": f'default: {{url: "http://p", headers: {{Authorization: "Bearer\\n{SECRET}"}}}}',
    "nested": f"default: {{url: 'http://p', headers: {{Authorization: {{Bearer: {SECRET}}}}}}}",
    "setting of that name": f"default: {{url: 'http://p', Authorization: 'Bearer {SECRET}'}}",
    "setting with it": f"default: {{url: 'http://p', 'Authorization: Bearer {SECRET}': x}}",
    "bearerToken": f"default: {{url: 'http://p', bearerToken: {SECRET}}}",
    "timeout": f"default: {{url: 'http://p', timeout: 'Bearer {SECRET}'}}",
    "two ways to log in": f"default: {{url: 'http://p', username: {SECRET}}}",
    "broken YAML": f"default:\n  headers:\n    Authorization: Bearer {SECRET}: x\n   url: y",
    "alias": f"default: {{url: 'http://p', headers: {{Authorization: *{SECRET}}}}}",
    "tag": f"default: !{SECRET} {{url: 'http://p'}}",
    "name of the server": f"'Bearer {SECRET}': {{url: 'ftp://p'}}",
}


@pytest.mark.parametrize("text", SECRETIVE.values(), ids=SECRETIVE.keys())
def test_no_error_of_the_settings_quotes_a_credential(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "prometheus.yaml"
    file.write_text(text)
    assert main(["--prometheus-config", str(file)]) == 2
    said = "".join(capsys.readouterr())
    assert SECRET not in said, said
    assert "modelrollout-operator: " in said and "Traceback" not in said


@pytest.mark.parametrize(
    "arguments",
    [
        ["--prometheus-url", f"https://admin:{SECRET}@prometheus"],
        ["--prometheus-url", f"Bearer {SECRET}"],
        ["--prometheus-url", "http://p", f"--prometheus-header=Authorization: Bearer {SECRET}"],
        ["--prometheus-url", "http://p", "--header", f"Authorization: Bearer {SECRET}"],
        ["--prometheus-url", "http://p", f"Bearer {SECRET}"],
    ],
)
def test_no_error_of_a_flag_quotes_a_credential(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    said = "".join(capsys.readouterr())
    assert SECRET not in said, said


def test_a_settings_error_says_where_it_is_without_the_value(tmp_path: Path) -> None:
    file = tmp_path / "prometheus.yaml"
    file.write_text("good: {url: 'http://p'}\nother: {headers: {Authorization: Bearer x}}")
    with pytest.raises(SettingsError, match="seen no url in entry 2 of 2"):
        load_settings(["--prometheus-config", str(file)], {})
    file.write_text("good:\n\t- x")
    with pytest.raises(SettingsError, match="line 2, column 1"):
        load_settings(["--prometheus-config", str(file)], {})


def test_the_headers_of_a_target_are_not_in_its_text() -> None:
    target = PrometheusTarget(name="p", url="http://p", headers={"Authorization": SECRET})
    assert SECRET not in repr(target)
