"""Running one command against the cluster, and saying what went wrong in a sentence."""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

import click
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.segment import Segment

from modelrollout.api.printable import printable
from modelrollout.cli.client import CommandRefusedError, Rollouts, Target, connected
from modelrollout.cluster.errors import ApiError, NotFoundError

T = TypeVar("T")
UNBOUNDED: Final = 10_000
INTERRUPTED: Final = 130


def run(target: Target, do: Callable[[Rollouts], Coroutine[Any, Any, T]], *, name: str | None = None) -> T:
    """Return the result of `do` on a connection.

    What the API server refuses ends the command with a sentence.
    """

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
    """Return where to print.

    In colours only on a terminal; elsewhere, or with `whole_lines`, nothing is wrapped.
    """
    if whole_lines or not sys.stdout.isatty():
        return Console(width=UNBOUNDED, highlight=False, markup=False, emoji=False)
    return Console(highlight=False, markup=False, emoji=False)


class Harmless:
    """A renderable whose text cannot steer the terminal, whoever wrote it: only our own styles do."""

    def __init__(self, content: RenderableType) -> None:
        self._content = content

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for segment in console.render(self._content, options):
            yield segment if segment.control else Segment(printable(segment.text), segment.style)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement.get(console, options, self._content)


def say(text: str, *, err: bool = False) -> None:
    """Print text of others: control characters in it are shown and not obeyed."""
    click.echo(printable(text), err=err)


class Commands(click.Group):
    """The commands; what an error quotes of the cluster or of a file cannot steer the terminal."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was named."""
        try:
            return super().invoke(ctx)
        except click.ClickException as error:
            error.message = printable(error.message)  # type: ignore[misc]  # what show() prints
            raise


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
        markup=False,
        emoji=False,
    )
    with buffer.capture() as captured:
        buffer.print(Harmless(renderable))
    click.echo("\n".join(line.rstrip() for line in captured.get().splitlines()), color=out.is_terminal)
