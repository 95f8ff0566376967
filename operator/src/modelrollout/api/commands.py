"""What people ask of a rollout: a JSON list in the annotation `modelrollout.dev/commands`.

The id makes a command act once: the operator keeps the ids it has handled in status and never writes the
annotation. Whoever adds a command takes out those that are handled, and writes with the resourceVersion that
was read, so that of two who add at once neither's is lost. Without the plugin one command may also stand in
the annotation `modelrollout.dev/command`; there a second one replaces the first.
"""

import json
from collections.abc import Collection, Mapping
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from pydantic import Field, ValidationError

from modelrollout.api.base import StatusModel, Timestamp
from modelrollout.api.constants import COMMAND_ANNOTATION, COMMANDS_ANNOTATION, COMMANDS_LIMIT

MAX_COMMAND_LENGTH = 2048


class Verb(StrEnum):
    """The commands."""

    PROMOTE = "promote"
    PROMOTE_FULL = "promote-full"
    PAUSE = "pause"
    RESUME = "resume"
    ABORT = "abort"
    RETRY = "retry"
    ROLLBACK = "rollback"


VERBS: Final[Mapping[Verb, str]] = MappingProxyType(
    {
        Verb.PROMOTE: "Go one step further: approve a step that waits, or end the present one now.",
        Verb.PROMOTE_FULL: "Go straight to 100 %, without the remaining steps.",
        Verb.PAUSE: "Hold where it is. Breaches still roll back.",
        Verb.RESUME: "Go on after a pause.",
        Verb.ABORT: "End the run: all traffic back to stable.",
        Verb.RETRY: "Start again at step 1 with a candidate that was rolled back or aborted.",
        Verb.ROLLBACK: "After success: return to the previous version. During a run: as abort.",
    }
)
"""What each command does; the reference and the plugin's help are made from it."""


class CommandError(ValueError):
    """The annotation is not a command; the message says what was expected and what was seen."""


class Command(StatusModel):
    """One command. `id` is any text unique to it; `user` and `at` are for the record."""

    id: str = Field(min_length=1, max_length=64)
    verb: Verb
    at: Timestamp | None = None
    user: str | None = Field(default=None, max_length=256)
    message: str | None = Field(default=None, max_length=1024)

    def to_annotation(self) -> str:
        """Return the value of the annotation."""
        return json.dumps(self.to_json(), separators=(",", ":"), sort_keys=True)


def parse_commands(annotations: Mapping[str, str] | None) -> tuple[tuple[Command, ...], str]:
    """Return the commands in the annotations of an object, oldest first, each id once.

    And what is wrong with the rest, a sentence (empty if nothing is).
    """
    found: list[object] = []
    errors = []
    for read in (_listed, _single):
        try:
            found += read(annotations or {})
        except CommandError as error:
            errors.append(str(error))
    commands: dict[str, Command] = {}
    for entry in found:
        try:
            command = entry if isinstance(entry, Command) else _parse(entry, COMMANDS_ANNOTATION)
        except CommandError as error:
            errors.append(str(error))
        else:
            commands.setdefault(command.id, command)
    return tuple(commands.values()), " ".join(errors)


def append_command(
    annotations: Mapping[str, str] | None, command: Command, *, handled: Collection[str]
) -> str:
    """Return the list annotation with one more command, without those handled or unusable.

    Raises:
        CommandError: The list is full. An abort is always added: it makes those before it void.
    """
    waiting = [entry for entry in _usable(annotations or {}) if entry.id not in handled]
    if len(waiting) >= COMMANDS_LIMIT:
        if command.verb is not Verb.ABORT:
            raise CommandError(
                f"{len(waiting)} commands wait for the operator, and the list holds {COMMANDS_LIMIT}: is the "
                "operator running, and does it watch this namespace?"
            )
        waiting = waiting[1 - COMMANDS_LIMIT :]
    return json.dumps([entry.to_json() for entry in (*waiting, command)], separators=(",", ":"))


def _usable(annotations: Mapping[str, str]) -> tuple[Command, ...]:
    listed = {COMMANDS_ANNOTATION: annotations.get(COMMANDS_ANNOTATION, "")}
    return parse_commands(listed)[0]


def _listed(annotations: Mapping[str, str]) -> list[object]:
    text = annotations.get(COMMANDS_ANNOTATION)
    if not text:
        return []
    expected = f"annotation {COMMANDS_ANNOTATION} must be a JSON list of at most {COMMANDS_LIMIT} commands"
    if len(text) > COMMANDS_LIMIT * MAX_COMMAND_LENGTH:
        raise CommandError(f"{expected}, not {len(text)} characters")
    try:
        entries = json.loads(text)
    except ValueError as error:
        raise CommandError(f"{expected}; seen: {text[:200]!r} ({error})") from None
    if not isinstance(entries, list) or len(entries) > COMMANDS_LIMIT:
        seen = f"{len(entries)} entries" if isinstance(entries, list) else repr(text[:200])
        raise CommandError(f"{expected}; seen: {seen}")
    return entries


def _single(annotations: Mapping[str, str]) -> list[object]:
    text = annotations.get(COMMAND_ANNOTATION)
    return [_parse(text, COMMAND_ANNOTATION)] if text else []


def _parse(entry: object, annotation: str) -> Command:
    """Return a command from its JSON text or from an entry of the list."""
    text = entry if isinstance(entry, str) else json.dumps(entry)
    verbs = ", ".join(verb.value for verb in Verb)
    form = 'JSON such as {"id": "1", "verb": "pause"}'
    expected = f"annotation {annotation} must {'be' if annotation == COMMAND_ANNOTATION else 'list'} {form}"
    if len(text) > MAX_COMMAND_LENGTH:
        raise CommandError(f"{expected}, at most {MAX_COMMAND_LENGTH} characters long, not {len(text)}")
    try:
        return Command.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the value"
        raise CommandError(
            f"{expected}; verbs are {verbs}. Seen: {text!r} ({where}: {first['msg']})"
        ) from None


def new_command(verb: Verb, *, id_: str, at: datetime, user: str | None = None) -> Command:
    """Return a command with that verb; the caller chooses an id that was never used for this object."""
    return Command(id=id_, verb=verb, at=at, user=user)
