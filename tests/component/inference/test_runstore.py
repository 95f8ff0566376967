"""The registry of runs: latest is the old run or the new one, never a damaged one, never none."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from inference_server import runstore
from inference_server.artifacts import ArtifactError, Manifest, load_manifest
from inference_server.metrics import ServerMetrics
from inference_server.predictors.emotion.kind import KIND
from inference_server.registry import ModelRegistry
from inference_server.runs_command import registry
from inference_server.runstore import RegistryError, RunStore
from tests.support.inference import ROOT, FakePredictor
from tests.support.suggestions import train_suggestions, write_corpus
from tests.support.toy.kind import train as train_toy


def run(*arguments: object) -> Result:
    return CliRunner().invoke(registry, list(map(str, arguments)))


def add_toy(store: RunStore, name: str, *, even: str = "even") -> None:
    """A run of another kind: the registry knows none."""
    made = store.work() / name
    done = CliRunner().invoke(train_toy, ["--out", str(made), "--even", even, "--version", name])
    assert done.exit_code == 0, done.output
    try:
        store.add(made, name)
    finally:
        shutil.rmtree(made.parent)


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    store = RunStore(tmp_path / "registry")
    for number, name in enumerate(("one", "two", "three")):
        add_toy(store, name)
        manifest = store.path(name) / "manifest.json"
        os.utime(manifest, (1_760_000_000 + number, 1_760_000_000 + number))
    store.swap("one")
    return store


def test_list_show_swap_and_the_history(store: RunStore) -> None:
    listed = json.loads(run("list", "--registry", store.root, "--json").stdout)
    assert [(item["run_id"], item["kind"], item["latest"]) for item in listed] == [
        ("three", "parity", False),
        ("two", "parity", False),
        ("one", "parity", True),
    ]
    assert run("list", "--registry", store.root).stdout.splitlines()[2].startswith("* one")
    swapped = run("swap", "--registry", store.root, "three")
    assert json.loads(swapped.stdout) == {"latest": "three", "before": "one"}
    shown = json.loads(run("show", "--registry", store.root).stdout)
    assert (shown["run_id"], shown["latest"]) == ("three", True)
    assert [(item["from"], item["to"]) for item in shown["history"]] == [(None, "one"), ("one", "three")]
    assert (store.root / "latest" / "manifest.json").is_file()


def test_a_run_with_a_changed_file_is_refused_and_the_file_named(store: RunStore) -> None:
    (store.path("two") / "names.json").write_text('["other", "odd"]')
    refused = run("swap", "--registry", store.root, "two")
    assert refused.exit_code == 1
    assert "names.json" in refused.output
    assert "latest was not exchanged" in refused.output
    assert store.latest() == "one"
    with pytest.raises(ArtifactError):
        store.swap("two")
    verified = run("verify", "--registry", store.root)
    assert verified.exit_code == 1
    assert list(json.loads(verified.stdout)["problems"]) == ["two"]
    assert run("verify", "--registry", store.root, "one").exit_code == 0


@pytest.mark.parametrize("name", ["none", "../one", "", ".work-1", "a/b"])
def test_a_name_that_is_no_run_is_a_sentence(store: RunStore, name: str) -> None:
    refused = run("swap", "--registry", store.root, name)
    assert refused.exit_code == 1
    assert "expected the name of a run (three, two, one)" in refused.output


def test_prune_spares_latest_and_the_run_before_it(store: RunStore) -> None:
    store.swap("two")
    assert json.loads(run("prune", "--registry", store.root, "--keep", "1").stdout) == {"deleted": []}
    store.swap("three")
    assert json.loads(run("prune", "--registry", store.root, "--keep", "1").stdout) == {"deleted": ["one"]}
    assert store.latest() == "three"


def test_a_swap_to_latest_itself_is_no_swap_and_spares_the_run_before(store: RunStore) -> None:
    store.swap("two")
    before = store.history()
    assert store.swap("two") == "two"
    assert store.history() == before
    with (store.root / "history.jsonl").open("a") as stream:  # as earlier versions recorded it
        stream.write('{"at": "2026-11-01T00:00:00+00:00", "from": "two", "to": "two"}\n')
    store.prune(1)
    assert store.path("one").is_dir()


def test_each_trainer_has_a_work_directory_of_its_own(tmp_path: Path) -> None:
    """Two containers that share a volume may have the same process id."""
    store = RunStore(tmp_path / "registry")
    assert store.work() != store.work()


def test_no_run_is_pruned_while_a_swap_verifies_it(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    locked = []

    def verify(directory: Path) -> Manifest:
        with (store.root / ".lock").open() as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                locked.append(directory.name)
        return load_manifest(directory)

    monkeypatch.setattr(runstore, "load_manifest", verify)
    store.swap("two")
    assert locked == ["two"]


def test_the_first_load_follows_latest_once(store: RunStore) -> None:
    """A swap in the middle of a load must not give files of two runs."""
    asked = []

    def load(directory: Path) -> FakePredictor:
        store.swap("two")
        asked.append(directory)
        return FakePredictor()

    models = ModelRegistry(load, ServerMetrics(KIND.label_sets))
    latest = store.root / "latest"
    assert models.load(latest).artifacts == latest
    assert asked == [store.path("one").resolve()]


def test_another_run_of_the_same_name_is_refused(store: RunStore) -> None:
    add_toy(store, "one")  # an equal one is what is there already
    with pytest.raises(RegistryError, match="another one has this name"):
        add_toy(store, "one", even="EVEN")


def test_a_crash_in_the_middle_of_a_swap_leaves_the_old_run(store: RunStore) -> None:
    """Killed at the rename itself: what a power cut would leave is there, and the next swap works."""
    code = (
        "import os, sys; from pathlib import Path; from inference_server.runstore import RunStore;"
        "Path.replace = lambda *_: os._exit(9); RunStore(Path(sys.argv[1])).swap('two')"
    )
    environment = {"PYTHONPATH": str(ROOT / "inference-image" / "src")}
    done = subprocess.run([sys.executable, "-c", code, str(store.root)], env=environment, check=False)
    assert done.returncode == 9
    assert store.latest() == "one"
    assert (store.root / "latest" / "manifest.json").is_file()
    store.swap("two")
    assert store.latest() == "two"


def test_readers_never_find_latest_missing_while_it_is_exchanged(store: RunStore) -> None:
    ended = threading.Event()
    missing: list[str] = []

    def read() -> None:
        while not ended.is_set():
            if not (store.root / "latest" / "manifest.json").is_file():
                missing.append("missing")

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(100):
        store.swap(("one", "two", "three")[number % 3])
    ended.set()
    reader.join()
    assert missing == []


def test_a_directory_that_cannot_be_written_is_a_sentence(store: RunStore, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RegistryError, match="expected a directory that can be written"):
        RunStore(tmp_path / "file").work()


def test_two_trainers_at_once_both_end_and_latest_is_one_of_them(tmp_path: Path) -> None:
    registry_path = tmp_path / "registry"
    answers: list[dict[str, object]] = []
    files = [write_corpus(tmp_path / f"{seed}.csv", rows=400, seed=seed) for seed in (1, 2)]
    code = (
        "import sys; from inference_server.predictors.suggestions.training.command import train;"
        "train(sys.argv[1:])"
    )
    environment = {"PYTHONPATH": str(ROOT / "inference-image" / "src"), "PATH": os.environ["PATH"]}
    started = [
        subprocess.Popen(
            [
                sys.executable,
                "-c",
                code,
                "--data",
                str(file),
                "--registry",
                str(registry_path),
                "--min-class-f1",
                "0.1",
                "--min-macro-f1",
                "0.5",
            ],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for file in files
    ]
    for process in started:
        out, problems = process.communicate(timeout=240)
        assert process.returncode == 0, problems.decode()
        answers.append(json.loads(out))
    assert all(answer["deployed"] for answer in answers)
    assert RunStore(registry_path).latest() in {answer["run_id"] for answer in answers}
    assert len(RunStore(registry_path).runs()) == 2
    assert not list((registry_path / "runs").glob(".work-*"))


def test_training_twice_keeps_one_run(run_registry: Path, tmp_path: Path) -> None:
    answer = train_suggestions("--data", write_corpus(tmp_path / "rows.csv"), "--registry", run_registry)
    assert [item.run_id for item in RunStore(run_registry).runs()] == [answer["run_id"]]
