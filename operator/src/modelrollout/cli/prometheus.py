"""How a command reaches Prometheus."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from modelrollout.prometheus import PrometheusClient, PrometheusTarget, TargetAuth

F = TypeVar("F", bound=Callable[..., Any])
SECONDS: Final = 60.0
"""A question over weeks may take long, and a person waits for it."""


def prometheus_options(*, required: bool) -> Callable[[F], F]:
    """Return the options that name a Prometheus server and how to log in."""
    file = click.Path(exists=True, dir_okay=False, path_type=Path)

    def decorate(command: F) -> F:
        for option in (
            click.option(
                "--prometheus-ca-file",
                "ca_file",
                type=file,
                help="Certificates to trust instead of the system's.",
            ),
            click.option(
                "--prometheus-token-file",
                "token_file",
                type=file,
                help="File with a bearer token for Prometheus.",
            ),
            click.option(
                "--prometheus",
                "url",
                metavar="URL",
                envvar="MODELROLLOUT_PROMETHEUS_URL",
                required=required,
                help="Address of Prometheus, such as http://localhost:9090 (a port-forward).",
            ),
        ):
            command = option(command)
        return command

    return decorate


def prometheus_client(
    *, url: str, token_file: Path | None = None, ca_file: Path | None = None
) -> PrometheusClient:
    """Return a client of that server; a click error if the address makes no sense."""
    try:
        auth = TargetAuth(bearer_token_file=token_file, ca_file=ca_file)
        return PrometheusClient(PrometheusTarget(name="prometheus", url=url, auth=auth, timeout=SECONDS))
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--prometheus") from error
