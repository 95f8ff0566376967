"""`kubectl modelrollout` (also `modelrollout`): look at rollouts, steer them, check files, report.

Exit codes: 0 done; 1 not done, or problems found; 2 the command line is wrong; 130 interrupted.
"""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import click

from modelrollout import __version__
from modelrollout.api.commands import VERBS, Verb
from modelrollout.cli.backtesting import backtest
from modelrollout.cli.client import (
    Rollouts,
    Target,
    default_kubeconfig,
    default_namespace,
    dumps,
    without_noise,
)
from modelrollout.cli.completion import completion, rollout_names
from modelrollout.cli.lint import lint
from modelrollout.cli.live import Live
from modelrollout.cli.report.command import report
from modelrollout.cli.session import Commands, console, run, say, show
from modelrollout.cli.types import DURATION
from modelrollout.cli.view import detail, explanation, overview
from modelrollout.cli.watching import watch as watch_rollout

FORMATS: Final = click.Choice(["json", "yaml"])
COMMAND_WAIT: Final = 10.0
NAME: Final = click.argument("name", shell_complete=rollout_names)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="kubectl-modelrollout")
@click.option("-n", "--namespace", help="Namespace; by default that of the context.")
@click.option("--context", "context_name", help="Context of the kubeconfig.")
@click.option(
    "--kubeconfig", type=click.Path(path_type=Path), help="Kubeconfig; by default as kubectl finds it."
)
@click.option(
    "--operator-metrics",
    "metrics",
    metavar="URL",
    envvar="MODELROLLOUT_OPERATOR_METRICS",
    help="Address of the operator's /metrics, for values fresher than the status; "
    "by default it is asked through the API server.",
)
@click.pass_context
def cli(
    context: click.Context,
    namespace: str | None,
    context_name: str | None,
    kubeconfig: Path | None,
    metrics: str | None,
) -> None:
    """Look at model rollouts, steer them, and check their manifests."""
    path = kubeconfig or default_kubeconfig()
    context.obj = Target(
        kubeconfig=path,
        context=context_name,
        namespace=namespace or default_namespace(path, context_name),
        metrics=metrics,
    )


@cli.command("list")
@click.option("-A", "--all-namespaces", "everywhere", is_flag=True, help="Those of all namespaces.")
@click.option("-o", "--output", "form", type=FORMATS, help="Print objects instead of a table.")
@click.pass_obj
def list_command(target: Target, everywhere: bool, form: str | None) -> None:
    """List rollouts, one line each."""
    items = run(target, partial(Rollouts.find, everywhere=everywhere))
    if form:
        kept = [without_noise(item) for item in items]
        click.echo(dumps({"apiVersion": "v1", "kind": "List", "items": kept}, form))
    elif not items:
        place = "any namespace" if everywhere else f"namespace {target.namespace}"
        say(f"No ModelRollouts in {place}.", err=True)
    else:
        show(overview(items, datetime.now(UTC), everywhere=everywhere), whole_lines=True)


@cli.command()
@NAME
@click.option("-w", "--watch", is_flag=True, help="Stay, and show each change, until the run ends or Ctrl-C.")
@click.option("--timeout", type=DURATION, help="With -w: give up (exit code 1) after so long, such as 30m.")
@click.option("-o", "--output", "form", type=FORMATS, help="Print the object instead.")
@click.pass_obj
def status(target: Target, name: str, watch: bool, timeout: float | None, form: str | None) -> None:
    """Show one rollout: traffic, criteria against their limits, steps, past runs.

    With -w the exit code is 0 if the run succeeds and 1 if it is rolled back.
    """
    if watch and form:
        raise click.UsageError(
            "-w and -o exclude each other; `kubectl get mro NAME -w -o json` prints changes"
        )
    if timeout is not None and not watch:
        raise click.UsageError("--timeout belongs to -w")
    if form:
        click.echo(dumps(without_noise(run(target, lambda r: r.get(name), name=name)), form))
    elif watch:
        raise SystemExit(_watch(target, name, timeout))
    else:
        item, live = run(target, lambda r: _once(r, name), name=name)
        show(detail(item, datetime.now(UTC), live))


@cli.command()
@NAME
@click.pass_obj
def explain(target: Target, name: str) -> None:
    """Say in one sentence why a rollout is where it is and what it waits for."""
    say(explanation(run(target, lambda r: r.get(name), name=name), datetime.now(UTC)))


@cli.command(help=VERBS[Verb.PROMOTE])
@NAME
@click.option("--full", is_flag=True, help=VERBS[Verb.PROMOTE_FULL])
@click.pass_obj
def promote(target: Target, name: str, full: bool) -> None:
    """Promote by a step, or in full."""
    _command(target, name, Verb.PROMOTE_FULL if full else Verb.PROMOTE)


def _add_verb(verb: Verb, text: str) -> None:
    @cli.command(verb.value, help=text)
    @NAME
    @click.pass_obj
    def command(target: Target, name: str) -> None:
        _command(target, name, verb)


for _verb, _text in VERBS.items():
    if _verb not in (Verb.PROMOTE, Verb.PROMOTE_FULL):  # one command with an option
        _add_verb(_verb, _text)
for _command_made_elsewhere in (lint, report, backtest, completion):
    cli.add_command(_command_made_elsewhere)


def _command(target: Target, name: str, verb: Verb) -> None:
    item = run(target, lambda rollouts: rollouts.command(name, verb, wait=COMMAND_WAIT), name=name)
    if item is None:
        raise click.ClickException(
            f"asked for {verb.value}, but the operator has not taken note of it within {COMMAND_WAIT:.0f} s: "
            "is it running, and does it watch this namespace? It will act as soon as it does."
        )
    say(f"{name}: {item['status'].get('phase')}. {explanation(item, datetime.now(UTC))}")


async def _once(rollouts: Rollouts, name: str) -> tuple[dict[str, Any], Live]:
    item, live = await asyncio.gather(rollouts.get(name), rollouts.live(name))
    return item, live


def _watch(target: Target, name: str, timeout: float | None) -> int:
    async def watching(rollouts: Rollouts) -> int:
        async with asyncio.timeout(timeout):
            return await watch_rollout(rollouts, name, console())

    try:
        return run(target, watching, name=name)
    except TimeoutError:
        raise click.ClickException(f"the run has not ended within {timeout:g} s") from None


def main() -> None:
    """Entry point of `kubectl-modelrollout` and `modelrollout`."""
    plugin = Path(sys.argv[0]).name.startswith("kubectl")
    cli(
        prog_name="kubectl modelrollout" if plugin else "modelrollout",
        complete_var="_MODELROLLOUT_COMPLETE",
    )
