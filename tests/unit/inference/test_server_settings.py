"""Options from the environment: defaults, every kind of wrong value, and the table in the documentation."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from inference_server.errors import SettingsError
from inference_server.settings import Settings

ROOT = Path(__file__).resolve().parents[3]


def test_nothing_set_gives_the_defaults() -> None:
    settings = Settings.from_environment({})
    assert settings.artifacts == Path("/models/emotion")
    assert settings.drain == 5.0
    assert settings.log_outputs == {"stdout"}
    assert settings.shadow_url is None
    assert settings.added_latency == 0
    assert 1 <= settings.workers <= 4


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("INFERENCE_PORT", "http"),
        ("INFERENCE_PORT", "70000"),
        ("INFERENCE_WORKERS", "0"),
        ("INFERENCE_WORKERS", "1.5"),
        ("INFERENCE_DRAIN_SECONDS", "-1"),
        ("INFERENCE_DRAIN_SECONDS", "nan"),
        ("INFERENCE_QUEUE_SIZE", "inf"),
        ("INFERENCE_LOG_OUTPUTS", "printer"),
        ("SHADOW_URL", "emotion-shadow"),
        ("SHADOW_URL", "ftp://x"),
        ("INFERENCE_ADDED_LATENCY_MS", "300"),
    ],
)
def test_a_wrong_value_is_named(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name) as caught:
        Settings.from_environment({name: value})
    assert "expected" in str(caught.value)


def test_faults_need_a_second_switch() -> None:
    settings = Settings.from_environment({"INFERENCE_ADDED_LATENCY_MS": "300", "INFERENCE_ALLOW_FAULTS": "1"})
    assert settings.added_latency == pytest.approx(0.3)


def test_logging_can_be_turned_off_or_doubled() -> None:
    assert Settings.from_environment({"INFERENCE_LOG_OUTPUTS": "none"}).log_outputs == frozenset()
    assert Settings.from_environment({"INFERENCE_LOG_OUTPUTS": "file, stdout"}).log_outputs == {
        "file",
        "stdout",
    }


def test_every_variable_is_in_the_documentation_and_the_other_way_round() -> None:
    source = ROOT / "inference-image" / "src" / "inference_server"
    pattern = re.compile(r'"((?:INFERENCE|SHADOW|LOADGEN|SUGGEST)_[A-Z_0-9]+)"')
    files = [file for file in source.rglob("*.py") if "training" not in file.parts]
    known = {name for file in files for name in pattern.findall(file.read_text())}
    pages = "".join((ROOT / "docs" / page).read_text() for page in ("inference-server.md", "suggestions.md"))
    documented = set(re.findall(r"`((?:INFERENCE|SHADOW|LOADGEN|SUGGEST)_[A-Z_0-9]+)`", pages))
    assert known - documented == set()
    assert documented - known - {"INFERENCE_TRAIN_ENCODER"} == set()


def test_without_a_token_there_is_no_admin_port() -> None:
    assert Settings.from_environment({}).admin_token_file is None
    with pytest.raises(SettingsError, match="no admin port without a token"):
        Settings.from_environment({"INFERENCE_ADMIN_PORT": "9000"})


@pytest.mark.parametrize("content", [None, "", "\n", "short", b"\xff\xfe" * 20])
def test_a_token_that_protects_nothing_is_refused(tmp_path: Path, content: str | bytes | None) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(SettingsError, match="INFERENCE_ADMIN_TOKEN_FILE") as caught:
        Settings.from_environment({"INFERENCE_ADMIN_TOKEN_FILE": str(file)})
    assert "short" not in str(caught.value), "a token is not quoted"


def test_the_admin_port_is_another_one(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("a token of some length")
    environment = {"INFERENCE_ADMIN_TOKEN_FILE": str(file)}
    assert Settings.from_environment(environment).admin_port == 8081
    with pytest.raises(SettingsError, match="another port than INFERENCE_PORT"):
        Settings.from_environment({**environment, "INFERENCE_PORT": "8081"})


def test_the_former_name_of_the_token_is_not_silently_ignored() -> None:
    with pytest.raises(SettingsError, match="INFERENCE_ADMIN_TOKEN_FILE instead"):
        Settings.from_environment({"INFERENCE_RELOAD_TOKEN_FILE": "/token"})
