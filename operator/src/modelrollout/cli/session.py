"""Running one command against the cluster, and saying what went wrong in a sentence."""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

import click
from rich.console import Console, RenderableType

from modelrollout.cli.client import CommandRefusedError, Rollouts, Target, connected
from modelrollout.cluster.errors import ApiError, NotFoundError

T = TypeVar("T")
UNBOUNDED: Final = 10_000
INTERRUPTED: Final = 130


def run(target: Target, do: Callable[[Rollouts], Coroutine[Any, Any, T]], *, name: str | None = None) -> T:
    """The result of `do` on a connection; what the API server refuses ends the command with a sentence."""

    async def session() -> T:
        async with connected(target) as rollouts:
            return await do(rollouts)

    try:
        return asyncio.run(session())
    except NotFoundError as error:
        raise click.ClickException(_not_found(error, target, name)) from error
    except ApiError as error:
        raise click.ClickException(str(error)) from error
    except CommandRefusedError as error:
        raise click.ClickException(str(error)) from error
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None


def _not_found(error: NotFoundError, target: Target, name: str | None) -> str:
    if "could not find the requested resource" in error.message or name is None:
        return (
            "this cluster does not know ModelRollouts: install the operator's chart or crds/modelrollout.yaml"
        )
    return f"there is no ModelRollout {name!r} in namespace {target.namespace}: `list -A` shows what there is"


def console(*, whole_lines: bool = False) -> Console:
    """Where to print: in colours only on a terminal; elsewhere, or with `whole_lines`, nothing is wrapped."""
    if whole_lines or not sys.stdout.isatty():
        return Console(width=UNBOUNDED, highlight=False)
    return Console(highlight=False)


def show(renderable: RenderableType, *, whole_lines: bool = False) -> None:
    """Print a table or a block, without spaces at the ends of its lines."""
    out = console(whole_lines=whole_lines)
    buffer = Console(
        file=io.StringIO(),
        width=out.width,
        force_terminal=out.is_terminal,
        color_system=out.color_system,  # type: ignore[arg-type]  # the names it gives are those it takes
        no_color=out.no_color,
        highlight=False,
    )
    with buffer.capture() as captured:
        buffer.print(renderable)
    click.echo("\n".join(line.rstrip() for line in captured.get().splitlines()), color=out.is_terminal)
