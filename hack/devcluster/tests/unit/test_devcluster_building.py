"""What is built is built once for each content, and a broken entry of the cache is noticed."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from devcluster import golang
from devcluster.archive import write_image
from devcluster.errors import PrerequisiteError, ResourceError
from devcluster.golang import GoProgram

MAIN = 'package main\n\nimport "os"\n\nfunc main() { os.Stdout.WriteString("VALUE") }\n'


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny Go module in place of the real one, and an empty cache."""
    directory = tmp_path / "module"
    (directory / "hello").mkdir(parents=True)
    real = golang.kubernetes_version()
    (directory / "go.mod").write_text("module example.invalid/hello\n\ngo 1.26\n")
    (directory / "go.sum").write_text("")
    (directory / "hello" / "main.go").write_text(MAIN.replace("VALUE", "one"))
    monkeypatch.setattr(golang, "MODULE", directory)
    monkeypatch.setattr(golang, "kubernetes_version", lambda: real)
    monkeypatch.setenv("MODELROLLOUT_CACHE", str(tmp_path / "cache"))
    return directory


HELLO = GoProgram("hello", "./hello", ("hallo",))


def test_the_second_build_is_the_first_ones_result(module: Path) -> None:
    first = golang.build(HELLO)
    before = (first / "hello").stat().st_mtime_ns
    assert golang.build(HELLO) == first
    assert (first / "hello").stat().st_mtime_ns == before
    assert (first / "hallo").readlink() == Path("hello")


def test_other_sources_make_another_entry(module: Path) -> None:
    first = golang.build(HELLO)
    (module / "hello" / "main.go").write_text(MAIN.replace("VALUE", "two"))
    second = golang.build(HELLO)
    assert first != second
    outputs = [subprocess.check_output([entry / "hello"], text=True) for entry in (first, second)]
    assert outputs == ["one", "two"]


def _truncate(entry: Path) -> None:
    os.truncate(entry / "hello", 100)


def _flip_a_byte(entry: Path) -> None:
    content = bytearray((entry / "hello").read_bytes())
    content[1000] ^= 0xFF
    (entry / "hello").write_bytes(content)


def _lose_the_record(entry: Path) -> None:
    (entry / "entry.json").write_text("{")


def _lose_the_program(entry: Path) -> None:
    (entry / "hello").unlink()


@pytest.mark.parametrize("damage", [_truncate, _flip_a_byte, _lose_the_record, _lose_the_program])
def test_a_broken_entry_is_said_and_built_again(
    module: Path, damage, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = golang.build(HELLO)
    intact = (entry / "hello").read_bytes()
    damage(entry)
    assert golang.build(HELLO) == entry
    assert (entry / "hello").read_bytes() == intact
    assert "is broken; building it again" in capsys.readouterr().err


def test_a_touched_but_equal_entry_is_kept(module: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entry = golang.build(HELLO)
    os.utime(entry / "hello")
    assert golang.build(HELLO) == entry
    assert "broken" not in capsys.readouterr().err


def test_a_failed_build_leaves_nothing_behind(module: Path, tmp_path: Path) -> None:
    (module / "hello" / "main.go").write_text("package main\n\nfunc main() { undefined() }\n")
    with pytest.raises(Exception, match="undefined: undefined"):
        golang.build(HELLO)
    assert list((tmp_path / "cache" / "bin").iterdir()) == []


def test_a_full_disk_is_said_before_anything_is_built(module: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(golang, "_NEEDED_BYTES", 1 << 60)
    with pytest.raises(ResourceError, match=r"building hello needs .* GiB free .* MODELROLLOUT_CACHE"):
        golang.build(HELLO)


def test_no_go_is_one_sentence_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    golang.go_command.cache_clear()
    monkeypatch.setattr(golang.shutil, "which", lambda *_, **__: None)
    with pytest.raises(PrerequisiteError, match=r"no go command was found; install Go 1\.26 or later"):
        golang.go_command()


def test_an_old_go_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    golang.go_command.cache_clear()
    monkeypatch.setattr(golang.shutil, "which", lambda *_, **__: "/usr/bin/go")
    monkeypatch.setattr(golang, "run", lambda *_, **__: "go1.19.8")
    with pytest.raises(PrerequisiteError, match=r"/usr/bin/go is go1\.19\.8"):
        golang.go_command()
    golang.go_command.cache_clear()


def test_an_image_archive_carries_full_names_and_the_layers_digest(tmp_path: Path) -> None:
    layer = tmp_path / "layer.tar"
    with tarfile.open(layer, "w") as out:
        entry = tarfile.TarInfo("hello")
        entry.size = 2
        out.addfile(entry, io.BytesIO(b"hi"))
    write_image(tmp_path / "image.tar", layer, tags=["docker.io/kindest/x:1", "y/z:2"], entrypoint=["/hello"])
    with tarfile.open(tmp_path / "image.tar") as archive:
        read = {m.name: archive.extractfile(m).read() for m in archive.getmembers()}  # type: ignore[union-attr]
    manifest, config = json.loads(read["manifest.json"])[0], json.loads(read["config.json"])
    assert manifest["RepoTags"] == ["docker.io/kindest/x:1", "y/z:2"]
    assert read["layer.tar"] == layer.read_bytes()
    assert config["rootfs"]["diff_ids"] == ["sha256:" + hashlib.sha256(layer.read_bytes()).hexdigest()]
    assert config["config"]["Entrypoint"] == ["/hello"]
