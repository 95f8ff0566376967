"""What people ask of a rollout: one JSON object in the annotation `modelrollout.dev/command`.

The id makes a command act once: the operator keeps the ids it has handled in status, so it may see the
annotation as often as it likes and never has to remove it.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum

from pydantic import Field, ValidationError

from modelrollout.api.base import StatusModel, Timestamp
from modelrollout.api.constants import COMMAND_ANNOTATION

MAX_COMMAND_LENGTH = 2048


class Verb(StrEnum):
    """The commands."""

    PROMOTE = "promote"
    """One step further: approves a waiting step, or ends the present step now."""
    PROMOTE_FULL = "promote-full"
    """Straight to 100 %, without the remaining steps."""
    PAUSE = "pause"
    RESUME = "resume"
    ABORT = "abort"
    """End the run: all traffic back to stable."""
    RETRY = "retry"
    """Start again at step 1 with a candidate that was rolled back or aborted."""
    ROLLBACK = "rollback"
    """After success: go back to the previous version."""


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
        """The value of the annotation."""
        return json.dumps(self.to_json(), separators=(",", ":"), sort_keys=True)


def parse_command(annotations: Mapping[str, str] | None) -> Command | None:
    """The command in the annotations of an object, or None. CommandError if it is none that is known."""
    text = (annotations or {}).get(COMMAND_ANNOTATION)
    if not text:
        return None
    verbs = ", ".join(verb.value for verb in Verb)
    expected = f'annotation {COMMAND_ANNOTATION} must be JSON such as {{"id": "1", "verb": "pause"}}'
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
    """A command with that verb; the caller chooses an id that was never used for this object."""
    return Command(id=id_, verb=verb, at=at, user=user)
