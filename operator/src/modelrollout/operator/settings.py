"""Settings of the operator: read once from flags and the environment, before anything else exists."""

from __future__ import annotations

import argparse
import os
import secrets
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from modelrollout.prometheus import PrometheusTargets
from modelrollout.prometheus.redaction import kind_of_entries, kind_of_yaml_error, plain_name

PREFIX: Final = "MODELROLLOUT_"


class SettingsError(ValueError):
    """A setting that cannot be used; the message names it, what was expected and what was seen."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that can be set from outside.

    Attributes:
        namespaces: Namespaces to watch; empty for all of them.
        kubeconfig: File to reach the cluster by; None for the service account of the pod.
        identity: Who we are in the Lease; must survive a restart of the container.
        prometheus: The allow-list of Prometheus servers, name to options (`url`, `bearerTokenFile`, ...).
        notification_hosts: Hosts that webhooks may be called on; `*` for any.
        host, port: Where /healthz, /readyz and /metrics listen.
        stalled_after: Seconds without a completed tick, while one is due, after which /healthz fails.
        resync: Seconds between two lists of everything that is watched, which find what a watch lost.
        shutdown: Seconds that ticks under way may take to end on SIGTERM.
        max_clock_skew: Seconds by which the node's clock may differ from the API server's, and those of its
            replicas from each other.
    """

    namespaces: tuple[str, ...]
    kubeconfig: Path | None
    context: str | None
    leader_election: bool
    lease_namespace: str
    lease_name: str
    identity: str
    prometheus: Mapping[str, Mapping[str, Any]]
    host: str
    port: int
    notification_hosts: tuple[str, ...]
    log_format: str
    log_level: str
    stalled_after: float
    resync: float
    shutdown: float
    max_clock_skew: float

    @property
    def scopes(self) -> tuple[str | None, ...]:
        """The namespaces to list and watch; None stands for all."""
        return self.namespaces or (None,)


def load_settings(arguments: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """Return settings from flags, else from the environment, else the defaults.

    Raises:
        SettingsError: A flag is unknown or a value unusable.
    """
    parsed, unknown = _parser(environment).parse_known_args(arguments)
    if unknown:
        raise SettingsError(
            f"expected only flags that --help lists, seen {_named(unknown)}: correct or leave out"
        )
    if bool(parsed.prometheus_url) == bool(parsed.prometheus_config):
        raise SettingsError(
            f"expected exactly one of --prometheus-url ({PREFIX}PROMETHEUS_URL) and --prometheus-config "
            f"({PREFIX}PROMETHEUS_CONFIG), seen {'both' if parsed.prometheus_url else 'neither'}: give the "
            "address of one Prometheus, or a file with several"
        )
    kubeconfig = _kubeconfig(parsed.kubeconfig)
    return Settings(
        namespaces=_names(parsed.namespaces),
        kubeconfig=kubeconfig,
        context=parsed.kube_context or None,
        leader_election=_boolean("leader-election", parsed.leader_election),
        lease_namespace=parsed.lease_namespace or environment.get("POD_NAMESPACE") or "default",
        lease_name=parsed.lease_name,
        identity=environment.get("POD_NAME") or f"{socket.gethostname()}-{secrets.token_hex(4)}",
        prometheus=_prometheus(parsed.prometheus_url, parsed.prometheus_config),
        host=parsed.host,
        port=_number("port", parsed.port, low=0, high=65535, whole=True),
        notification_hosts=_names(parsed.notification_hosts),
        log_format=_choice("log-format", parsed.log_format, ("json", "text")),
        log_level=_choice("log-level", parsed.log_level, ("debug", "info", "warning", "error")),
        stalled_after=_number("stalled-after", parsed.stalled_after, low=5, high=3600),
        resync=_number("resync", parsed.resync, low=10, high=86400),
        shutdown=_number("shutdown", parsed.shutdown, low=0, high=600),
        max_clock_skew=_number("max-clock-skew", parsed.max_clock_skew, low=0.5, high=60),
    )


def _parser(environment: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="modelrollout-operator",
        description="Rolls out model versions and rolls bad ones back.",
        epilog=f"Every flag can be given as an environment variable: --log-format is {PREFIX}LOG_FORMAT.",
    )
    flags = (
        ("namespaces", "", "namespaces to watch, separated by commas; empty for all"),
        ("kubeconfig", environment.get("KUBECONFIG", ""), "file to reach the cluster by; empty inside a pod"),
        ("kube-context", "", "context in it; by default the current one"),
        ("leader-election", "true", "true or false; only one replica may run without"),
        ("lease-name", "modelrollout-operator", "name of the Lease"),
        ("lease-namespace", "", "its namespace; by default that of the pod (POD_NAMESPACE)"),
        ("prometheus-url", "", "address of the only Prometheus, which is then called default"),
        ("prometheus-config", "", "YAML file: name of a Prometheus to its url, bearerTokenFile, caFile, ..."),
        ("notification-hosts", "", "hosts that notifications may call, separated by commas; * for any"),
        ("host", "0.0.0.0", "address for /healthz, /readyz and /metrics"),  # noqa: S104 - probes come from outside
        ("port", "8080", "port for them; 0 for any free one"),
        ("log-format", "json", "json or text"),
        ("log-level", "info", "debug, info, warning or error"),
        ("stalled-after", "60", "seconds without a completed tick after which /healthz fails"),
        ("resync", "300", "seconds between two lists of everything that is watched"),
        ("shutdown", "15", "seconds that ticks under way may take on SIGTERM"),
        ("max-clock-skew", "2", "seconds by which clocks may differ before it is said and nothing advances"),
    )
    for flag, default, text in flags:
        variable = PREFIX + flag.upper().replace("-", "_")
        parser.add_argument(f"--{flag}", default=environment.get(variable, default), help=text)
    return parser


def _named(unknown: Sequence[str]) -> str:
    """Return arguments that are no flags of ours, without their values: one may be a credential."""
    flags = [argument.partition("=")[0] for argument in unknown if argument.startswith("--")]
    names = ", ".join(plain_name(flag.removeprefix("--")) for flag in flags)
    return names or f"{len(unknown)} that are no flags"


def _kubeconfig(text: str) -> Path | None:
    # Like kubectl, KUBECONFIG may name several files; the first that exists is taken.
    paths = [Path(part).expanduser() for part in text.split(os.pathsep) if part]
    if paths and not any(path.is_file() for path in paths):
        raise SettingsError(f"expected a kubeconfig at {text}, but there is no such file: correct KUBECONFIG")
    return next((path for path in paths if path.is_file()), None)


def _prometheus(url: str, config: str) -> Mapping[str, Mapping[str, Any]]:
    servers = {"default": {"url": url}} if url else _servers(config)
    try:
        PrometheusTargets.from_mapping(servers)  # to be told before anything is started
    except ValueError as error:
        flag = "--prometheus-url" if url else f"--prometheus-config {config}"
        raise SettingsError(f"{flag} cannot be used: {error}") from error
    return servers


def _servers(config: str) -> Mapping[str, Mapping[str, Any]]:
    """Return the entries of the file.

    What it holds is never quoted: headers and addresses may be credentials.
    """
    try:
        loaded = yaml.safe_load(Path(config).read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise SettingsError(
            f"expected YAML in --prometheus-config {config}, seen something else: {kind_of_yaml_error(error)}"
        ) from None
    except UnicodeDecodeError:
        raise SettingsError(f"expected text (UTF-8) in --prometheus-config {config}, seen bytes") from None
    except OSError as error:
        raise SettingsError(
            f"expected YAML in --prometheus-config {config}, but it cannot be read: {error.strerror}"
        ) from error
    if not isinstance(loaded, dict) or not all(
        isinstance(entry, dict) and entry.get("url") for entry in loaded.values()
    ):
        raise SettingsError(
            f"expected --prometheus-config {config} to map names to entries with a url, such as "
            f'{{"default": {{"url": "http://prometheus:9090"}}}}, seen {kind_of_entries(loaded)}'
        )
    return loaded


def _names(text: str) -> tuple[str, ...]:
    return tuple(sorted({part.strip() for part in text.split(",") if part.strip()}))


def _boolean(flag: str, text: str) -> bool:
    return _choice(flag, text, ("true", "false")) == "true"


def _choice(flag: str, text: str, choices: tuple[str, ...]) -> str:
    if text.lower() not in choices:
        raise SettingsError(f"expected --{flag} to be {' or '.join(choices)}, seen {text!r}")
    return text.lower()


def _number(flag: str, text: str, *, low: float, high: float, whole: bool = False) -> Any:
    try:
        value = int(text) if whole else float(text)
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        raise SettingsError(f"expected --{flag} to be a number from {low:g} to {high:g}, seen {text!r}")
    return value
