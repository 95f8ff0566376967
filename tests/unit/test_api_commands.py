"""Commands in the annotation: read and written exactly, refused with what was expected."""

from datetime import UTC, datetime

import pytest

from modelrollout.api.commands import CommandError, Verb, new_command, parse_command
from modelrollout.api.constants import COMMAND_ANNOTATION

AT = datetime(2026, 1, 31, 12, 0, 0, 123456, tzinfo=UTC)


@pytest.mark.parametrize("verb", list(Verb))
def test_a_written_command_is_read_back(verb: Verb) -> None:
    command = new_command(verb, id_="b7", at=AT, user="jane")
    assert parse_command({COMMAND_ANNOTATION: command.to_annotation(), "other": "x"}) == command


def test_a_command_by_hand_needs_only_id_and_verb() -> None:
    command = parse_command({COMMAND_ANNOTATION: '{"id": "42", "verb": "promote-full"}'})
    assert command is not None
    assert (command.id, command.verb, command.at) == ("42", Verb.PROMOTE_FULL, None)


@pytest.mark.parametrize("annotations", [None, {}, {"other": "x"}, {COMMAND_ANNOTATION: ""}])
def test_no_annotation_is_no_command(annotations: dict[str, str] | None) -> None:
    assert parse_command(annotations) is None


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("pause", "Invalid JSON"),
        ('{"verb": "pause"}', "id: Field required"),
        ('{"id": "", "verb": "pause"}', "id: "),
        ('{"id": "1", "verb": "explode"}', "verb: "),
        ('["pause"]', "the value: "),
        ('{"id": "1", "verb": "pause", "at": "2026-01-31T12:00:00"}', "at: must have a time zone"),
        ('{"id": "' + "x" * 3000 + '", "verb": "pause"}', "at most 2048 characters long, not 3027"),
    ],
)
def test_what_is_no_command_is_refused_with_what_was_expected(text: str, named: str) -> None:
    with pytest.raises(CommandError) as raised:
        parse_command({COMMAND_ANNOTATION: text})
    assert named in str(raised.value)
    assert 'must be JSON such as {"id": "1", "verb": "pause"}' in str(raised.value)
