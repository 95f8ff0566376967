"""The counting mode rustdoc on small crates; the expected totals are what rustdoc 1.95 prints for them.

``tests/component/inference/test_docdetector_agreement.py`` compares them with rustdoc itself.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from inference_server.predictors.docdetector import rustdoc
from inference_server.predictors.docdetector.command import detect
from tests.support.rust_crates import CRATES, write_crate


@pytest.mark.parametrize("name", CRATES)
def test_totals_are_those_of_rustdoc(name: str, tmp_path: Path) -> None:
    crate = CRATES[name]
    root = write_crate(tmp_path / name, crate.files)
    counts = rustdoc.count([root], crate.features)
    items = [(item.name, item.documented) for count in counts.values() for item in count.items]
    assert (sum(count.documented for count in counts.values()), len(items)) == crate.expected, items
    assert not [count.error for count in counts.values() if count.error]


def test_the_command_counts_a_crate(tmp_path: Path) -> None:
    root = write_crate(tmp_path / "crate", {"src/lib.rs": "//! Crate.\npub fn f() {}\n"})
    result = CliRunner().invoke(detect, [str(root), "--mode", "rustdoc", "--json"])
    assert json.loads(result.stdout) == {
        "documented": 1,
        "total": 2,
        "files": [{"path": str(root / "src/lib.rs"), "documented": 1, "total": 2}],
    }


@pytest.mark.parametrize(
    ("files", "error"),
    [
        ({"src/lib.rs": "pub mod gone;"}, "no file for the module gone"),
        ({"src/lib.rs": 'fn f() { "'}, "starts no token"),
        ({"src/lib.rs": "fn f() {"}, "is never closed"),
        ({"src/lib.rs": "}"}, "unexpected '}'"),
        ({"Cargo.toml": "[package", "src/lib.rs": ""}, "Cargo.toml"),
    ],
)
def test_what_cannot_be_read_is_named(files: dict[str, str], error: str, tmp_path: Path) -> None:
    root = write_crate(tmp_path / "crate", files)
    assert any(error in count.error for count in rustdoc.count([root]).values())


DOUBLING = "macro_rules! m { ($($x:tt)*) => { m!($($x)* $($x)*); pub fn f() {} } }\nm!(a b c d);\n"
CALLING = "macro_rules! m { () => { m!(); m!(); } }\nm!();\n"


@pytest.mark.parametrize("source", [DOUBLING, CALLING], ids=["arguments", "calls"])
def test_macros_that_grow_without_end_are_left_alone(source: str, tmp_path: Path) -> None:
    root = write_crate(tmp_path / "crate", {"src/lib.rs": f"//! Crate.\n{source}"})
    counts = rustdoc.count([root])
    assert "tokens" in str(counts[f"{root / 'src/lib.rs'}: macros"].error)


def test_a_path_to_no_regular_file_and_a_module_in_itself_are_named(tmp_path: Path) -> None:
    root = write_crate(
        tmp_path / "crate",
        {
            "src/lib.rs": '#[path = "pipe.rs"]\npub mod a;\n#[path = "/dev/zero"]\npub mod b;\npub mod c;\n',
            "src/c.rs": '//! C.\n#[path = "c.rs"]\npub mod c;\n',
        },
    )
    os.mkfifo(root / "src" / "pipe.rs")
    errors = {Path(name).name: count.error for name, count in rustdoc.count([root]).items() if count.error}
    assert errors == {
        "pipe.rs": "no regular file",
        "zero": "no regular file",
        "c.rs": "the module includes itself",
    }
