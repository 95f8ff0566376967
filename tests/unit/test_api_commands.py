"""Commands in the annotation: read and written exactly, refused with what was expected."""

from datetime import UTC, datetime

import pytest

from modelrollout.api.commands import (
    Command,
    CommandError,
    Verb,
    append_command,
    new_command,
    parse_commands,
)
from modelrollout.api.constants import (
    COMMAND_ANNOTATION,
    COMMANDS_ANNOTATION,
    COMMANDS_LIMIT,
    HANDLED_COMMANDS_LIMIT,
)
from modelrollout.api.status import ModelRolloutStatus

AT = datetime(2026, 1, 31, 12, 0, 0, 123456, tzinfo=UTC)


@pytest.mark.parametrize("verb", list(Verb))
def test_a_written_command_is_read_back(verb: Verb) -> None:
    command = new_command(verb, id_="b7", at=AT, user="jane")
    text = append_command({}, command, handled=())
    assert parse_commands({COMMANDS_ANNOTATION: text, "other": "x"}) == ((command,), "")
    assert parse_commands({COMMAND_ANNOTATION: command.to_annotation()}) == ((command,), ""), "as in 0.1"


def test_a_command_by_hand_needs_only_id_and_verb() -> None:
    (command,), error = parse_commands({COMMAND_ANNOTATION: '{"id": "42", "verb": "promote-full"}'})
    assert not error
    assert (command.id, command.verb, command.at) == ("42", Verb.PROMOTE_FULL, None)


@pytest.mark.parametrize("annotations", [None, {}, {"other": "x"}, {COMMAND_ANNOTATION: ""}])
def test_no_annotation_is_no_command(annotations: dict[str, str] | None) -> None:
    assert parse_commands(annotations) == ((), "")


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
    commands, error = parse_commands({COMMAND_ANNOTATION: text})
    assert not commands
    assert named in error
    assert 'must be JSON such as {"id": "1", "verb": "pause"}' in error


def command(id_: str, verb: Verb = Verb.PAUSE) -> Command:
    return Command(id=id_, verb=verb)


def listed(*commands: Command) -> dict[str, str]:
    annotations: dict[str, str] = {}
    for each in commands:
        annotations[COMMANDS_ANNOTATION] = append_command(annotations, each, handled=())
    return annotations


def test_commands_are_kept_in_order_and_the_single_one_comes_last() -> None:
    annotations = listed(command("b"), command("a", Verb.RESUME))
    annotations[COMMAND_ANNOTATION] = '{"id": "0", "verb": "abort"}'
    commands, error = parse_commands(annotations)
    assert [each.id for each in commands] == ["b", "a", "0"]
    assert not error


def test_an_entry_that_is_no_command_hides_none_that_is() -> None:
    text = '[{"id": "1", "verb": "explode"}, {"id": "2", "verb": "abort"}, 7]'
    commands, error = parse_commands({COMMANDS_ANNOTATION: text})
    assert [each.id for each in commands] == ["2"]
    assert "verb: " in error and "must list JSON such as" in error


@pytest.mark.parametrize("text", ["{", '{"id": "1", "verb": "pause"}', "[" + "0," * 10 + "0]", " " * 30_000])
def test_what_is_no_list_is_said(text: str) -> None:
    commands, error = parse_commands({COMMANDS_ANNOTATION: text})
    assert not commands
    assert "must be a JSON list of at most 10 commands" in error


def test_adding_takes_out_what_is_handled_and_what_is_unusable() -> None:
    annotations = listed(command("done"), command("waits"))
    text = append_command(annotations, command("new"), handled={"done"})
    assert [each.id for each in parse_commands({COMMANDS_ANNOTATION: text})[0]] == ["waits", "new"]
    text = append_command({COMMANDS_ANNOTATION: "{"}, command("new"), handled=())
    assert [each.id for each in parse_commands({COMMANDS_ANNOTATION: text})[0]] == ["new"]


def test_a_full_list_refuses_all_but_an_abort() -> None:
    full = listed(*(command(str(number)) for number in range(COMMANDS_LIMIT)))
    with pytest.raises(CommandError, match="10 commands wait for the operator"):
        append_command(full, command("one more"), handled=())
    text = append_command(full, command("stop", Verb.ABORT), handled=())
    commands, error = parse_commands({COMMANDS_ANNOTATION: text})
    assert (len(commands), commands[-1].id, error) == (COMMANDS_LIMIT, "stop", "")


def test_the_ids_of_commands_that_are_in_the_object_still_are_never_forgotten() -> None:
    """Else one of the list would act again after enough commands by hand."""
    in_list = [f"listed-{number}" for number in range(COMMANDS_LIMIT)]
    status = ModelRolloutStatus()
    for id_ in in_list:
        status = status.with_handled_command(id_, present=in_list)
    for number in range(3 * HANDLED_COMMANDS_LIMIT):
        status = status.with_handled_command(f"by-hand-{number}", present=[*in_list, f"by-hand-{number}"])
    assert len(status.handled_commands) == HANDLED_COMMANDS_LIMIT
    assert set(in_list) < set(status.handled_commands)
    assert status.handled_commands[-1] == f"by-hand-{3 * HANDLED_COMMANDS_LIMIT - 1}"
