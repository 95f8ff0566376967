"""Shell completion: of the command by itself, and of `kubectl modelrollout` by kubectl."""

from __future__ import annotations

import asyncio
import sys

import click
from click.shell_completion import CompletionItem, ShellComplete, get_completion_class

from modelrollout.cli.client import Target, connected, default_kubeconfig, default_namespace
from modelrollout.cli.session import say

SECONDS = 2.0
"""Nobody waits longer at a prompt."""
VARIABLE = "_MODELROLLOUT_COMPLETE"
DIRECTIVE_FILES, DIRECTIVE_NO_FILES = 0, 4
"""How kubectl's own completion is told whether file names may follow."""


def rollout_names(
    context: click.Context,
    parameter: click.Parameter,  # noqa: ARG001 - click passes it
    incomplete: str,
) -> list[CompletionItem]:
    """Return names of the rollouts in the namespace that the command line names.

    None if it cannot be asked.
    """
    options = context.find_root().params
    path = options.get("kubeconfig") or default_kubeconfig()
    wanted = options.get("context_name")
    namespace = options.get("namespace") or default_namespace(path, wanted)
    target = Target(kubeconfig=path, context=wanted, namespace=namespace)
    try:
        names = asyncio.run(_names(target))
    except Exception:  # noqa: BLE001 - no suggestion is better than a stack trace in a prompt
        return []
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


async def _names(target: Target) -> list[str]:
    async with asyncio.timeout(SECONDS), connected(target) as rollouts:
        return [str(item["metadata"]["name"]) for item in await rollouts.find()]


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script for a shell: source <(modelrollout completion bash)."""
    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(context.find_root().command, {}, "modelrollout", VARIABLE).source())


def kubectl() -> None:
    """Entry point of `kubectl_complete-modelrollout`: kubectl hands over the words after `modelrollout`."""
    from modelrollout.cli.main import cli  # noqa: PLC0415 - the commands import this module

    words = sys.argv[1:] or [""]
    items = ShellComplete(cli, {}, "kubectl modelrollout", VARIABLE).get_completions(words[:-1], words[-1])
    for item in items:
        if item.type == "plain":
            say(f"{item.value}\t{item.help}" if item.help else item.value)
    files = any(item.type in ("file", "dir") for item in items)
    click.echo(f":{DIRECTIVE_FILES if files else DIRECTIVE_NO_FILES}")
