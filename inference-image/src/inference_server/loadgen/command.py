"""``inference-server loadgen``."""

from __future__ import annotations

import json
import sys
from urllib.parse import urlsplit

import click
import uvloop

from inference_server.loadgen.run import LoadGenerator, Plan
from inference_server.predictors.kinds import find_kind
from inference_server.predictors.table import DEFAULT_KIND, KINDS


@click.command()
@click.option(
    "--url",
    envvar="LOADGEN_URL",
    required=True,
    help="Address of the server; the default path is the kind's.",
)
@click.option(
    "--rate", envvar="LOADGEN_RATE", type=click.FloatRange(0.1, 5000), default=20.0, show_default=True
)
@click.option(
    "--duration",
    envvar="LOADGEN_DURATION",
    type=click.FloatRange(0.1),
    help="Seconds [default: until SIGTERM].",
)
@click.option(
    "--timeout", type=click.FloatRange(0.05), default=10.0, show_default=True, help="Seconds for one request."
)
@click.option(
    "--keep-alive", is_flag=True, help="Use connections again (then a Service sends all to few pods)."
)
@click.option("--port", type=click.IntRange(0, 65535), help="Serve the live counts on this port.")
@click.option("--seed", type=int, default=42, show_default=True, help="Of the order of the requests.")
@click.option(
    "--kind",
    envvar="LOADGEN_KIND",
    type=click.Choice(list(KINDS)),
    default=DEFAULT_KIND,
    show_default=True,
    help="Kind of predictor, which says what to send.",
)
def loadgen(  # noqa: PLR0913, PLR0917 - one parameter per option
    url: str,
    rate: float,
    duration: float | None,
    timeout: float,
    keep_alive: bool,
    port: int | None,
    seed: int,
    kind: str,
) -> None:
    """Send example requests at a constant rate; one line of JSON a second, a summary at the end.

    The exit code is 1 when a request failed or was lost.
    """
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        raise click.BadParameter(
            f"expected an address such as http://model:80, but it is {url!r}", param_hint="--url"
        )
    found = find_kind(kind)
    assert found is not None
    path, bodies = found.load_examples()
    plan = Plan(
        url=url if parts.path.strip("/") else url.rstrip("/") + path,
        rate=rate,
        duration=duration,
        timeout=timeout,
        keep_alive=keep_alive,
        port=port,
        seed=seed,
        bodies=tuple(bodies),
    )
    final = uvloop.run(_run(plan))
    click.echo(json.dumps(final))
    sys.exit(1 if final["failed"] else 0)


async def _run(plan: Plan) -> dict[str, object]:
    return await LoadGenerator(plan).run()
