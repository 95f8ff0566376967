"""What the demo says: a live view on a terminal, plain lines elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console, RenderableType
from rich.live import Live
from rich.rule import Rule
from rich.text import Text

PLAIN_WIDTH: Final = 180


class Narrator:
    """Prints to one console; every line carries the time since the demo started."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or _console()
        self._start = time.monotonic()

    @property
    def live(self) -> bool:
        """Whether there is a terminal to draw on."""
        return self.console.is_terminal

    def elapsed(self) -> str:
        """Minutes and seconds since the start."""
        seconds = int(time.monotonic() - self._start)
        return f"{seconds // 60}:{seconds % 60:02d}"

    def title(self, text: str) -> None:
        """Print a heading."""
        self.console.print()
        self.console.print(Rule(f"[bold]{text}[/]", align="left", style="blue"))

    def say(self, text: str, style: str = "") -> None:
        """One line."""
        line = Text(f"{self.elapsed():>5}  ", style="dim")
        self.console.print(line.append(text, style=style or "not dim"))

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Yield a block that takes a while: its name, a clock while it runs, and how long it took."""
        began = time.monotonic()
        try:
            if self.live:
                with self.console.status(f"[cyan]{what}[/] …") as status, _clock(status.update, what, began):
                    yield
            else:
                self.say(f"{what} …")
                yield
        except BaseException:
            self.say(f"✗ {what} (after {time.monotonic() - began:.0f} s)", "red")
            raise
        self.say(f"✓ {what} ({time.monotonic() - began:.0f} s)")

    @contextmanager
    def view(self) -> Iterator[Live | None]:
        """Yield a live view below what is printed, or None where there is no terminal."""
        if not self.live:
            yield None
            return
        with Live(console=self.console, auto_refresh=False, transient=True, redirect_stderr=False) as live:
            yield live

    def show(self, what: RenderableType) -> None:
        """Print a table or a panel."""
        self.console.print(what)


def _console() -> Console:
    """As wide as the terminal; a log has no width, so its lines are not broken."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=PLAIN_WIDTH)


@contextmanager
def _clock(update: Callable[[str], None], what: str, began: float) -> Iterator[None]:
    done = threading.Event()

    def run() -> None:
        while not done.wait(1.0):
            seconds = int(time.monotonic() - began)
            update(f"[cyan]{what}[/] … {seconds // 60}:{seconds % 60:02d}")

    thread = threading.Thread(target=run, name="clock", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
