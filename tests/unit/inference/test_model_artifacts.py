"""Artefacts are data: verified before they are opened, and a wrong one is named."""

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from inference_server.artifacts import ArtifactError, load_manifest, read_npz, sha256_of, write_npz
from inference_server.predictors.emotion.kind import KIND
from inference_server.predictors.emotion.loading import PredictorConfig, load_predictor
from inference_server.predictors.kinds import kind_of, load_artifacts

CONFIG = PredictorConfig()


def _resign(directory: Path) -> None:
    """Make the manifest agree with the files again, as an author of bad artefacts would."""
    path = directory / "manifest.json"
    body = json.loads(path.read_text())
    body["files"] = {name: sha256_of(directory / name) for name in body["files"]}
    path.write_text(json.dumps(body))


def _edit(directory: Path, change: Callable[[dict], None]) -> None:
    path = directory / "manifest.json"
    body = json.loads(path.read_text())
    change(body)
    path.write_text(json.dumps(body))


@pytest.mark.parametrize("name", ["linear_head.npz", "prototypes.npz"])
def test_one_changed_byte_is_refused_and_the_file_is_named(artifacts: Path, name: str) -> None:
    path = artifacts / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(ArtifactError, match="SHA-256") as caught:
        load_predictor(artifacts, config=CONFIG)
    assert caught.value.file == path
    assert sha256_of(path) in caught.value.seen


@pytest.mark.parametrize("name", ["linear_head.npz", "prototypes.npz", "manifest.json"])
def test_a_missing_file_is_named(artifacts: Path, name: str) -> None:
    (artifacts / name).unlink()
    with pytest.raises(ArtifactError, match="no such file") as caught:
        load_predictor(artifacts, config=CONFIG)
    assert caught.value.file.name == name


def test_artefacts_without_a_kind_are_of_the_first_one(artifacts: Path) -> None:
    """Those that were written before there were several load as they did."""
    _edit(artifacts, lambda body: body.pop("kind"))
    assert load_manifest(artifacts).kind == "emotion"
    assert kind_of(artifacts) is KIND
    load_artifacts(artifacts, kind=KIND).close()


def test_artefacts_of_another_kind_are_refused(artifacts: Path) -> None:
    _edit(artifacts, lambda body: body.update(kind="weather"))
    with pytest.raises(ArtifactError, match="artefacts of the kind 'emotion', but their kind is 'weather'"):
        load_artifacts(artifacts, kind=KIND)
    with pytest.raises(ArtifactError, match="expected a kind that this server knows"):
        load_artifacts(artifacts)


@pytest.mark.parametrize(
    ("content", "seen"),
    [
        ("", "Expecting value"),
        ("[]", "TypeError"),
        ("{}", "KeyError"),
        ('{"format": 9}', "9"),
        ("\x00", "Expecting"),
    ],
)
def test_a_broken_manifest_is_named(artifacts: Path, content: str, seen: str) -> None:
    (artifacts / "manifest.json").write_text(content)
    with pytest.raises(ArtifactError) as caught:
        load_predictor(artifacts, config=CONFIG)
    assert caught.value.file.name == "manifest.json"
    assert seen in caught.value.seen


@pytest.mark.parametrize("name", ["../outside.npz", "/etc/hostname"])
def test_a_file_outside_the_directory_is_refused(artifacts: Path, name: str) -> None:
    _edit(artifacts, lambda body: body["files"].update({name: "0" * 64}))
    with pytest.raises(ArtifactError, match="leads out"):
        load_manifest(artifacts)


def test_a_changed_configuration_is_refused(artifacts: Path) -> None:
    _edit(artifacts, lambda body: body["config"].update(seed=7))
    with pytest.raises(ArtifactError, match="configuration with SHA-256"):
        load_manifest(artifacts)


class _Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, int]]:
        return os.mkdir, (str(self.path), 0o700)


def test_a_pickle_is_not_executed_even_if_the_manifest_vouches_for_it(
    artifacts: Path, tmp_path: Path
) -> None:
    trap = tmp_path / "executed"
    head = artifacts / "linear_head.npz"
    np.savez(head, embedding=np.asarray([_Bomb(trap)], dtype=object))
    _resign(artifacts)
    with pytest.raises(ArtifactError) as caught:
        load_predictor(artifacts, config=CONFIG)
    assert caught.value.file == head
    head.write_bytes(pickle.dumps(_Bomb(trap)))
    _resign(artifacts)
    with pytest.raises(ArtifactError):
        load_predictor(artifacts, config=CONFIG)
    assert not trap.exists()


@pytest.mark.parametrize("damage", ["drop", "axes", "labels", "nan"])
def test_arrays_that_do_not_fit_are_refused_and_named(artifacts: Path, damage: str) -> None:
    head = artifacts / "linear_head.npz"
    with np.load(head) as archive:
        arrays = {name: archive[name] for name in archive.files}
    if damage == "drop":
        del arrays["bias"]
    elif damage == "axes":
        arrays["bias"] = arrays["bias"][None]
    elif damage == "labels":
        arrays["embedding"] = arrays["embedding"][:, :3]
    else:
        arrays["embedding"][0, 0] = np.nan
    write_npz(head, arrays)
    _resign(artifacts)
    with pytest.raises(ArtifactError) as caught:
        load_predictor(artifacts, config=CONFIG)
    assert caught.value.file == head


def test_an_unknown_setting_of_serving_is_refused(artifacts: Path) -> None:
    _edit(artifacts, lambda body: body["serving"].update(linear_minimum="high"))
    with pytest.raises(ArtifactError, match="linear_minimum"):
        load_predictor(artifacts, config=CONFIG)


def test_npz_bytes_depend_on_the_arrays_only(tmp_path: Path) -> None:
    arrays = {"b": np.arange(6).reshape(2, 3), "a": np.zeros(2, np.float16)}
    write_npz(tmp_path / "one.npz", arrays)
    os.utime(tmp_path / "one.npz", (1, 1))
    write_npz(tmp_path / "two.npz", dict(reversed(arrays.items())))
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    back = read_npz(tmp_path / "one.npz", {"a": 1, "b": 2})
    np.testing.assert_array_equal(back["b"], arrays["b"])


@pytest.mark.parametrize(
    ("name", "value"), [("INFERENCE_TIE_BREAK_DELTA", "x"), ("INFERENCE_LOW_CONFIDENCE", "7")]
)
def test_a_bad_environment_is_a_sentence(name: str, value: str) -> None:
    with pytest.raises(ValueError, match="must be"):
        PredictorConfig.from_environment({name: value})


def test_the_environment_sets_the_delta() -> None:
    assert PredictorConfig.from_environment({"INFERENCE_TIE_BREAK_DELTA": "0.2"}).tie_break_delta == 0.2
    assert PredictorConfig.from_environment({}).tie_break_delta == 0.05
