"""``inference-server detect``: which files it takes, what it prints, and its exit codes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from inference_server.cli import main
from inference_server.predictors.docdetector import counting
from inference_server.predictors.docdetector.files import find
from inference_server.predictors.docdetector.modes import Mode


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def detect(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["detect", *arguments])


def document(*arguments: str) -> Any:
    return json.loads(detect(*arguments, "--json").stdout)


def found(root: Path, mode: Mode = Mode.AST, gitignore: bool | None = None) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in find([root], mode, gitignore=gitignore))


def test_json_has_totals_and_files(tmp_path: Path) -> None:
    tree(tmp_path, {"a.py": '"""A."""\ndef f(): pass\n', "b/c.rs": "//! C.\nfn f() {}\n", "d.txt": "no"})
    assert document(str(tmp_path)) == {
        "documented": 2,
        "total": 4,
        "files": [
            {"path": str(tmp_path / "a.py"), "documented": 1, "total": 2},
            {"path": str(tmp_path / "b/c.rs"), "documented": 1, "total": 2},
        ],
    }


def test_items_are_named_when_asked_for(tmp_path: Path) -> None:
    tree(tmp_path, {"a.py": '"""A."""\ndef f(): pass\n'})
    assert document(str(tmp_path), "--items")["files"][0]["items"][1] == {
        **{"name": "f", "kind": "function", "line": 2, "end_line": 2, "documented": False}
    }
    assert "line 2: function f is not documented" in detect(str(tmp_path), "--items").stdout


def test_exit_code_under_a_limit(tmp_path: Path) -> None:
    tree(tmp_path, {"a.py": '"""A."""\ndef f(): pass\n'})
    assert detect(str(tmp_path), "--fail-under", "50").exit_code == 0
    result = detect(str(tmp_path), "--fail-under", "50.1")
    assert result.exit_code == 1
    assert "50.0 % is documented; --fail-under asks for 50.1 %." in result.stderr
    assert detect(str(tmp_path / "none")).exit_code == 2
    assert detect(str(tmp_path), "--mode", "none").exit_code == 2


def test_workers_change_nothing(tmp_path: Path) -> None:
    tree(tmp_path, {f"m{number}.py": '"""A."""\n' for number in range(40)})
    assert document(str(tmp_path), "--workers", "2") == document(str(tmp_path))


def test_a_file_that_cannot_be_read_is_named_and_counts_as_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "LARGEST", 100)
    tree(tmp_path, {"a.py": "def f(:\n", "b.py": "x = 1\n" * 100, "c.py": '"""C."""\n'})
    (tmp_path / "d.py").symlink_to(tmp_path / "gone.py")
    result = document(str(tmp_path))
    assert (result["documented"], result["total"]) == (1, 1)
    assert [entry.get("error") for entry in result["files"]] == [
        "line 1: invalid syntax",
        "600 bytes; at most 100 are parsed",
        None,
        "No such file or directory",
    ]
    assert "a.py: not counted: line 1: invalid syntax" in detect(str(tmp_path)).stdout


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.py")
    assert [entry["error"] for entry in document(str(tmp_path))["files"]] == ["no regular file"]


def test_a_link_to_a_directory_is_not_followed(tmp_path: Path) -> None:
    tree(tmp_path, {"a.py": ""})
    (tmp_path / "loop").symlink_to(tmp_path)
    assert found(tmp_path) == ["a.py"]


GITIGNORE = {
    ".gitignore": "build/\n*_pb2.py\n!kept_pb2.py\n/only_here.py\n",
    "build/a.py": "",
    "b_pb2.py": "",
    "kept_pb2.py": "",
    "only_here.py": "",
    "sub/.gitignore": "local.py\n!b_pb2.py\n",
    "sub/local.py": "",
    "sub/b_pb2.py": "",
    "sub/only_here.py": "",
}


def test_gitignore_files_are_obeyed(tmp_path: Path) -> None:
    root = tree(tmp_path, GITIGNORE)
    assert found(root) == ["kept_pb2.py", "sub/b_pb2.py", "sub/only_here.py"]
    assert found(root, gitignore=False) == sorted(name for name in GITIGNORE if name.endswith(".py"))


def test_gitignore_files_above_hold_inside_a_repository(tmp_path: Path) -> None:
    root = tree(tmp_path, {**GITIGNORE, ".git/HEAD": ""})
    assert found(root / "sub") == ["b_pb2.py", "only_here.py"]
    # Who names an ignored directory wants it counted.
    assert found(root / "build") == ["a.py"]


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        (Mode.AST, ["a.py", "a.pyi", "a.pyw", "a.rs", "dist/b.py", "venv/c.py", "venvs/d.py"]),
        (Mode.INTERROGATE, ["a.py", "dist/b.py", "ignored.py"]),
        (Mode.RUFF, ["a.py", "a.pyi", "ignored.py", "venvs/d.py"]),
    ],
)
def test_each_mode_takes_the_files_that_its_tool_takes(
    mode: Mode, expected: list[str], tmp_path: Path
) -> None:
    names = ["a.py", "a.pyi", "a.pyw", "a.rs", "dist/b.py", "venv/c.py", "venvs/d.py", "ignored.py"]
    tree(tmp_path, {**dict.fromkeys(names, ""), ".gitignore": "ignored.py\n"})
    assert found(tmp_path, mode) == expected


def test_lines_of_a_gitignore_file_that_git_passes_over_cost_no_other_line(tmp_path: Path) -> None:
    tree(tmp_path, dict.fromkeys(["a.py", "b.py", "c.py"], ""))
    (tmp_path / ".gitignore").write_bytes(b"\xef\xbb\xbfa.py\r\n!\n[z-a]\nx\\\n\xff\nb.py\n")
    assert found(tmp_path) == ["c.py"]


def test_a_pipe_is_no_gitignore_file(tmp_path: Path) -> None:
    tree(tmp_path, {"a.py": ""})
    os.mkfifo(tmp_path / ".gitignore")
    assert found(tmp_path) == ["a.py"]


def test_a_name_that_is_no_utf_8_is_printed(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/caf\xe9.py"
    with open(path, "w") as stream:  # noqa: PTH123 - pathlib takes no bytes
        stream.write('"""A."""')
    result = detect(str(tmp_path))
    assert (result.exit_code, "caf\\udce9.py: 1 of 1" in result.stdout) == (0, True), result.output
    assert document(str(tmp_path))["total"] == 1
