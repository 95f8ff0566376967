"""`kubectl modelrollout` (also `modelrollout`): look at rollouts, steer them, check files.

Exit codes: 0 done; 1 not done, or problems found; 2 the command line is wrong.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.live import Live

from modelrollout.api.commands import Verb
from modelrollout.cli.client import Rollouts, Target, connected, default_namespace, dumps
from modelrollout.cli.lint import lint_text
from modelrollout.cli.view import detail, overview
from modelrollout.cluster.errors import ApiError, NotFoundError

T = TypeVar("T")
FORMATS = click.Choice(["json", "yaml"])
COMMAND_WAIT = 10.0
VERBS = {
    Verb.PROMOTE: "Go one step further: approve a waiting step, or end the present one now.",
    Verb.PAUSE: "Hold where it is. Breaches still roll back.",
    Verb.RESUME: "Go on after a pause.",
    Verb.ABORT: "End the run: all traffic back to stable.",
    Verb.RETRY: "Start again at step 1 with a candidate that was rolled back or aborted.",
    Verb.ROLLBACK: "After success: back to the previous version.",
}


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="modelrollout", prog_name="kubectl-modelrollout")
@click.option("-n", "--namespace", help="Namespace; by default that of the context.")
@click.option("--context", "context_name", help="Context of the kubeconfig.")
@click.option(
    "--kubeconfig", type=click.Path(path_type=Path), help="Kubeconfig; by default as kubectl finds it."
)
@click.pass_context
def cli(
    context: click.Context, namespace: str | None, context_name: str | None, kubeconfig: Path | None
) -> None:
    """Look at model rollouts, steer them, and check their manifests."""
    path = kubeconfig or _default_kubeconfig()
    context.obj = Target(
        kubeconfig=path, context=context_name, namespace=namespace or default_namespace(path, context_name)
    )


@cli.command("list")
@click.option("-A", "--all-namespaces", "everywhere", is_flag=True, help="Those of all namespaces.")
@click.option("-o", "--output", "form", type=FORMATS, help="Print objects instead of a table.")
@click.pass_obj
def list_command(target: Target, everywhere: bool, form: str | None) -> None:
    """List rollouts, one line each."""
    items = _run(target, partial(Rollouts.find, everywhere=everywhere))
    if form:
        click.echo(dumps(items, form))
    elif not items:
        click.echo(
            f"No ModelRollouts in {'any namespace' if everywhere else f'namespace {target.namespace}'}."
        )
    else:
        Console(soft_wrap=True).print(overview(items, datetime.now(UTC), everywhere=everywhere))


@cli.command()
@click.argument("name")
@click.option(
    "-w", "--watch", is_flag=True, help="Stay, and show each change, until the rollout ends or Ctrl-C."
)
@click.option("-o", "--output", "form", type=FORMATS, help="Print the object instead.")
@click.pass_obj
def status(target: Target, name: str, watch: bool, form: str | None) -> None:
    """Show one rollout: traffic, criteria against their limits, steps, past runs."""
    if form:
        click.echo(dumps(_run(target, lambda rollouts: rollouts.get(name)), form))
    elif watch:
        _run(target, lambda rollouts: _watch(rollouts, name))
    else:
        item, live = _run(target, lambda rollouts: _once(rollouts, name))
        Console().print(detail(item, datetime.now(UTC), live))


@cli.command()
@click.argument("name")
@click.pass_obj
def explain(target: Target, name: str) -> None:
    """Say in one sentence why a rollout is where it is and what it waits for."""
    state = _run(target, lambda rollouts: rollouts.get(name)).get("status") or {}
    click.echo(
        state.get("message")
        or f"The operator has not seen {name} yet: is it running, and does it watch here?"
    )


@cli.command()
@click.argument("name")
@click.option("--full", is_flag=True, help="Straight to 100 %, without the remaining steps.")
@click.pass_obj
def promote(target: Target, name: str, full: bool) -> None:
    """Go one step further: approve a waiting step, or end the present one now."""
    _command(target, name, Verb.PROMOTE_FULL if full else Verb.PROMOTE)


def _add_verb(verb: Verb, text: str) -> None:
    @cli.command(verb.value, help=text)
    @click.argument("name")
    @click.pass_obj
    def command(target: Target, name: str) -> None:
        _command(target, name, verb)


for _verb, _text in VERBS.items():
    if _verb is not Verb.PROMOTE:
        _add_verb(_verb, _text)


@cli.command()
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, allow_dash=True)
)
def lint(files: tuple[str, ...]) -> None:
    """Check manifests offline: all that the API server and the operator would say, with line numbers."""
    wrong = seen = 0
    for name in files:
        text = sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
        count, findings = lint_text(text)
        seen += count
        wrong += len(findings)
        for finding in findings:
            click.echo(f"{name}:{finding.line}: {finding.path}: {finding.message}")
    if wrong:
        raise SystemExit(1)
    if not seen:
        raise click.ClickException(f"expected a ModelRollout in {', '.join(files)}, found none")
    click.echo(f"{seen} ModelRollout{'s' if seen > 1 else ''}, nothing to complain about.")


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script for a shell: source <(modelrollout completion bash)."""
    from click.shell_completion import get_completion_class  # noqa: PLC0415 - only needed here

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(cli, {}, "modelrollout", "_MODELROLLOUT_COMPLETE").source())


def _command(target: Target, name: str, verb: Verb) -> None:
    item = _run(target, lambda rollouts: rollouts.command(name, verb, wait=COMMAND_WAIT))
    if item is None:
        raise click.ClickException(
            f"asked for {verb.value}, but the operator has not taken note of it within {COMMAND_WAIT:.0f} s: "
            "is it running, and does it watch this namespace? It will act as soon as it does."
        )
    state = item["status"]
    click.echo(f"{name}: {state.get('phase')}. {state.get('message', '')}")


async def _once(rollouts: Rollouts, name: str) -> tuple[dict[str, Any], dict[str, float]]:
    return await rollouts.get(name), await rollouts.live_values(name)


async def _watch(rollouts: Rollouts, name: str) -> None:
    console = Console()
    latest: dict[str, Any] = {}
    with Live(console=console, auto_refresh=False, vertical_overflow="visible") as live:

        async def refresh() -> None:
            while True:
                if latest:
                    values = await rollouts.live_values(name)
                    live.update(detail(latest, datetime.now(UTC), values), refresh=True)
                await asyncio.sleep(1.0)

        ticking = asyncio.create_task(refresh())
        try:
            async for item in rollouts.watch(name):
                if item is None:
                    console.print(f"{name} was deleted.")
                    return
                latest.clear()
                latest.update(item)
                live.update(detail(item, datetime.now(UTC)), refresh=True)
        finally:
            ticking.cancel()


def _default_kubeconfig() -> Path | None:
    named = [Path(part) for part in os.environ.get("KUBECONFIG", "").split(os.pathsep) if part]
    candidates = named or [Path.home() / ".kube" / "config"]
    return next((path for path in candidates if path.is_file()), None)


def _run(target: Target, do: Callable[[Rollouts], Coroutine[Any, Any, T]]) -> T:
    async def session() -> T:
        async with connected(target) as rollouts:
            return await do(rollouts)

    try:
        return asyncio.run(session())
    except NotFoundError as error:
        raise click.ClickException(
            f"{error} (namespace {target.namespace}): `list -A` shows what there is"
        ) from error
    except ApiError as error:
        raise click.ClickException(str(error)) from error
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def main() -> None:
    """Entry point of `kubectl-modelrollout` and `modelrollout`."""
    cli(prog_name="kubectl modelrollout" if Path(sys.argv[0]).name.startswith("kubectl") else "modelrollout")
