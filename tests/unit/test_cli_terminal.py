"""Text of others cannot steer the terminal: whatever a log, a condition, a name or an answer holds."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from rich.console import Console

from modelrollout.api.printable import printable
from modelrollout.cli import main as cli_main
from modelrollout.cli import session
from modelrollout.cli.client import Rollouts
from modelrollout.cli.main import cli
from modelrollout.cli.view import detail
from modelrollout.cli.watching import watch
from modelrollout.cluster.errors import ApiError
from modelrollout.operator.logs import JsonFormatter, TextFormatter

TITLE, CLEAR, CLIPBOARD = "\x1b]0;owned\x07", "\x1b[2J\x1b[H", "\x1b]52;c;cm0gLXJm\x07"
SIGNS = "\x9b31mred\r\x08\x7f\x85 \u2066 \x1b[31mcolour\x1b[0m [red]markup[/red]"
NASTY = f"\u202eevil{TITLE}{CLEAR}{CLIPBOARD}{SIGNS}"
OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
NOW = datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)


def nasty() -> dict[str, Any]:
    """A ModelRollout in every text of which somebody has put such characters."""
    at = "2026-03-01T12:00:00Z"
    return {
        "apiVersion": "modelrollout.dev/v1alpha1",
        "kind": "ModelRollout",
        "metadata": {"name": f"emotion{NASTY}", "namespace": f"ns{NASTY}", "creationTimestamp": at},
        "spec": {"steps": [{"weight": 10}, {"weight": 100}], "criteria": [{"name": NASTY}]},
        "status": {
            "phase": NASTY, "reason": NASTY, "message": NASTY, "stable": NASTY, "candidate": NASTY,
            "weight": {"desired": 10, "observed": 10},
            "step": {"index": 0, "weight": 10, "progress": NASTY, "startedAt": at},
            "run": {"id": NASTY, "candidate": NASTY, "stable": NASTY, "startedAt": at},
            "pods": {"stable": {"desired": 1, "ready": 1}, "candidate": {"desired": 1, "ready": 1}},
            "criteria": [{"name": NASTY, "state": NASTY, "message": NASTY, "limit": NASTY, "value": 1}],
            "validations": [{"name": NASTY, "run": NASTY, "step": 0, "state": NASTY, "job": NASTY,
                             "message": NASTY, "startedAt": at}],
            "history": [{"id": NASTY, "from": NASTY, "to": NASTY, "result": NASTY, "reason": NASTY,
                         "message": NASTY, "startedAt": at, "finishedAt": at}],
        },
    }  # fmt: skip


def event() -> dict[str, Any]:
    at = "2026-03-01T12:00:00Z"
    return {"metadata": {"name": "x"}, "reason": NASTY, "message": NASTY, "type": NASTY, "lastTimestamp": at}


@pytest.fixture
def invoke(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Result]:
    """Runs a command on a cluster whose every text is nasty."""

    async def get(_: Rollouts, __: str) -> dict[str, Any]:
        return nasty()

    async def find(_: Rollouts, **__: Any) -> list[dict[str, Any]]:
        return [nasty()]

    async def events(_: Rollouts, __: str) -> list[dict[str, Any]]:
        return [event()]

    async def live(_: Rollouts, __: str) -> Any:
        return cli_main.Live()

    async def command(*_: Any, **__: Any) -> dict[str, Any]:
        return nasty()

    for method in (get, find, events, live, command):
        monkeypatch.setattr(Rollouts, method.__name__, method)

    class Connection:
        async def __aenter__(self) -> Rollouts:
            return Rollouts(api=None, namespace="ns")  # type: ignore[arg-type]

        async def __aexit__(self, *_: object) -> None: ...

    monkeypatch.setattr(session, "connected", lambda _: Connection())

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(cli, arguments, env={"KUBECONFIG": str(tmp_path / "none")})

    return run


@pytest.mark.parametrize(
    "arguments",
    ["list", "status emotion", "explain emotion", "abort emotion", "report emotion -o -"],
)
def test_no_command_passes_control_characters_on(invoke: Callable[..., Result], arguments: str) -> None:
    result = invoke(*arguments.split())
    assert result.exit_code == 0, result.output
    assert "evil" in result.output
    assert not OBEYED.search(result.output), repr(OBEYED.search(result.output))


@pytest.mark.parametrize("form", ["json", "yaml"])
@pytest.mark.parametrize("verb", ["list", "status emotion"])
def test_json_and_yaml_are_complete_and_harmless(invoke: Callable[..., Result], verb: str, form: str) -> None:
    result = invoke(*verb.split(), "-o", form)
    assert result.exit_code == 0, result.output
    assert not OBEYED.search(result.output)
    read = json.loads(result.output) if form == "json" else yaml.safe_load(result.output)
    assert (read["items"][0] if verb == "list" else read)["status"]["message"] == NASTY


def test_an_error_of_the_api_server_is_harmless(
    invoke: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(*_: Any) -> None:
        raise ApiError(403, "Forbidden", NASTY)

    monkeypatch.setattr(Rollouts, "get", refused)
    result = invoke("explain", "emotion")
    assert result.exit_code == 1 and "evil" in result.output
    assert not OBEYED.search(result.output)


@pytest.mark.parametrize("options", [[], ["-o", "json"]])
def test_lint_shows_a_file_of_others_without_obeying_it(
    invoke: Callable[..., Result], tmp_path: Path, options: list[str]
) -> None:
    file = tmp_path / "rollout.yaml"
    spec = {NASTY: NASTY, "service": NASTY, "candidate": {"deployment": NASTY}, "steps": NASTY}
    manifest = {"apiVersion": "modelrollout.dev/v1alpha1", "kind": "ModelRollout", "spec": spec}
    file.write_text(yaml.safe_dump({**manifest, "metadata": {"name": NASTY}}))
    result = invoke("lint", str(file), *options)
    assert result.exit_code == 1 and "evil" in result.output
    assert not OBEYED.search(result.output)


@pytest.mark.parametrize("terminal", [False, True])
async def test_watching_shows_no_control_character_but_our_own(terminal: bool) -> None:
    class One(Rollouts):
        async def watch(self, _: str) -> Any:
            yield nasty()
            yield None

    console = Console(
        force_terminal=terminal, width=200, markup=False, emoji=False, color_system=None, legacy_windows=False
    )
    with console.capture() as captured:
        await watch(One(api=None, namespace="ns"), "emotion", console)  # type: ignore[arg-type]
    text = captured.get()
    assert "evil" in text
    for theirs in ("\x1b]", "\x07", "\x9b", "\u202e", "\x1b[31m", "\x08"):
        assert theirs not in text, repr(theirs)


def test_colours_on_a_terminal_are_ours_alone(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(force_terminal=True, width=200, markup=False, emoji=False, color_system="standard")
    with console.capture() as captured:
        console.print(session.Harmless(detail(nasty(), NOW)))
    text = captured.get()
    assert "\x1b[1m" in text  # bold names
    assert "\x1b]" not in text and "\x9b" not in text and "\x1b[31mcolour" not in text
    assert "[red]markup[/red]" in text


@pytest.mark.parametrize("form", [JsonFormatter(), TextFormatter()])
def test_logs_of_the_operator_are_harmless_and_cannot_be_forged(form: logging.Formatter) -> None:
    forged = f"{NASTY}\n12:00:00 INFO    [ns/emotion] Everything is fine."
    record = logging.LogRecord("modelrollout.x", logging.WARNING, "f.py", 1, forged, (), None)
    text = form.format(record)
    assert "evil" in text and not OBEYED.search(text)
    assert not any(line.startswith("12:00:00 INFO") for line in text.splitlines())


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("é 日本 🎉", "é 日本 🎉"),
        ("a\x1b[31mb\x1b[0mc", "abc"),
        ("a\x1b[2Jb", "a␛[2Jb"),
        ("a\x9b1;31mb", "ab"),
        ("a\r\nb\rc", "a\nb␍c"),
        ("a\tb\x00\x7f", "a\tb␀␡"),
        ("a\u202eb", "a<202E>b"),
    ],
)
def test_control_characters_are_shown_and_colours_left_out(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(shown) == shown


def test_one_line_stays_one() -> None:
    assert printable("a\nb\tc", lines=False) == "a␊b␉c"
