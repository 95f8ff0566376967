"""Definitions in Python and the counting modes for it, on sources small enough to judge by reading."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from inference_server.predictors.docdetector.counting import count_python
from inference_server.predictors.docdetector.items import Count
from inference_server.predictors.docdetector.modes import Mode


def counted(source: str, mode: Mode = Mode.AST, path: str = "module.py") -> Count:
    return count_python(dedent(source).encode(), mode, Path(path))


def documented(source: str, mode: Mode = Mode.AST) -> dict[str, bool]:
    return {item.name: item.documented for item in counted(source, mode).items}


def test_every_kind_of_definition_is_found_with_its_lines() -> None:
    items = counted(
        '''\
        """Module."""
        class A:
            """Class."""
            def method(self):
                """Method."""
                async def inner(): "Inner."
        @decorated
        def function():
            if True:
                class Local: pass
        '''
    ).items
    assert [(item.name, item.kind, item.line, item.end_line, item.documented) for item in items] == [
        ("", "module", 1, 10, True),
        ("A", "class", 2, 6, True),
        ("A.method", "method", 4, 6, True),
        ("A.method.inner", "nested function", 6, 6, True),
        ("function", "function", 8, 10, False),
        ("function.Local", "class", 10, 10, False),
    ]


@pytest.mark.parametrize(
    "body",
    ['""', '"  \\n "', 'f"text"', 'b"text"', 'x = 1; "late"', "pass", "...", "1", '"a" f"b"'],
)
def test_what_is_no_docstring(body: str) -> None:
    assert documented(f"def f(): {body}") == {"": False, "f": False}


@pytest.mark.parametrize("body", ['"text"', 'r"text"', '("text")', '"a" "b"', "u'text'", '"""\ntext"""'])
def test_what_is_a_docstring(body: str) -> None:
    assert documented(f"def f(): {body}") == {"": False, "f": True}


def test_definitions_in_every_kind_of_block_are_found() -> None:
    names = documented(
        """\
        if a:
            def f1(): pass
        elif b:
            def f2(): pass
        else:
            def f3(): pass
        for x in y:
            def f4(): pass
        else:
            def f5(): pass
        while a:
            def f6(): pass
        try:
            def f7(): pass
        except E:
            def f8(): pass
        else:
            def f9(): pass
        finally:
            def g1(): pass
        with a:
            def g2(): pass
        match a:
            case 1:
                def g3(): pass
        try:
            pass
        except* E:
            def g4(): pass
        async def g5():
            async for x in y:
                def g6(): pass
            async with a:
                def g7(): pass
        """
    )
    assert sorted(name.split(".")[-1] for name in names if name) == sorted(
        [*(f"f{number}" for number in range(1, 10)), *(f"g{number}" for number in range(1, 8))]
    )


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (b"def f(:\n", "line 1: invalid syntax"),
        (b"print 'Python 2'\n", "line 1: Missing parentheses in call to 'print'. Did you mean print(...)?"),
        (b"\xff\xfe\x00", "source code string cannot contain null bytes"),
        (b"x = '\xff'\n", None),
        (b"(" * 5000 + b")" * 5000, None),
        (b"-" * 200_000 + b"1", None),
    ],
)
@pytest.mark.parametrize("mode", [Mode.AST, Mode.INTERROGATE, Mode.RUFF])
def test_what_cannot_be_parsed_is_an_error_that_says_why(
    source: bytes, reason: str | None, mode: Mode
) -> None:
    result = count_python(source, mode, Path("bad.py"))
    assert result.total == 0
    assert result.error
    if reason is not None and mode is Mode.AST:
        assert result.error == reason


@pytest.mark.parametrize("source", ["", "\t\n\t", "\r\n\r\n", "# only a comment"])
def test_a_file_without_code_is_one_undocumented_module(source: str) -> None:
    result = counted(source)
    assert (result.documented, result.total, result.error) == (0, 1, "")


def test_carriage_returns_change_nothing() -> None:
    source = 'class A:\r\n    """Text."""\r\n    def f(self):\r\n        pass\r\n'
    assert documented(source) == {"": False, "A": True, "A.f": False}


def test_an_unknown_encoding_is_an_error_of_the_mode_that_obeys_declarations() -> None:
    source = b"# coding: nonsense\n"
    assert count_python(source, Mode.AST, Path("m.py")).error == "unknown encoding: nonsense"
    assert count_python(source, Mode.INTERROGATE, Path("m.py")).total == 1


def test_interrogate_reads_utf_8_only_and_ast_what_the_file_declares() -> None:
    source = '# coding: latin-1\n"""é"""\n'.encode("latin-1")
    assert count_python(source, Mode.AST, Path("m.py")).documented == 1
    assert "utf-8" in count_python(source, Mode.INTERROGATE, Path("m.py")).error


RUFF = """\
from typing import overload
import typing as t
__all__ = ["Public", "function", "_listed"]
__all__ += ["more"]
__all__.extend(["ignored"])
class Public:
    def __init__(self): pass
    def __new__(cls): pass
    def __len__(self): pass
    def method(self): ""
    def _private(self): pass
    @property
    def value(self): pass
    @value.setter
    def value(self, new): pass
    @t.override
    def overriding(self): pass
    class Inner: pass
    class _Hidden:
        def method(self): pass
class Unlisted:
    def method(self): pass
@overload
def function(x: int): ...
def function(x):
    def nested(): pass
    class Local: pass
def ignored(): pass
def more(): pass  # noqa: D103
def _listed(): pass
"""


def test_ruff_mode_counts_public_definitions() -> None:
    assert documented(RUFF, Mode.RUFF) == {
        "": False,
        "Public": False,
        "Public.__init__": False,
        "Public.__new__": False,
        "Public.__len__": False,
        "Public.method": True,
        "Public.value": False,
        "Public.Inner": False,
        "function": False,
    }


def test_ruff_mode_looks_at_names_of_packages(tmp_path: Path) -> None:
    package = tmp_path / "_internal"
    package.mkdir()
    (package / "__init__.py").touch()
    assert counted("x = 1", Mode.RUFF, str(package / "module.py")).total == 0
    assert counted("x = 1", Mode.RUFF, str(tmp_path / "_module.py")).total == 0
    assert counted("x = 1", Mode.RUFF, str(tmp_path / "__main__.py")).total == 1
    assert counted("x = 1", Mode.RUFF, str(tmp_path / "stub.pyi")).total == 0


@pytest.mark.parametrize(
    ("comment", "total"),
    [("# noqa", 1), ("# NOQA : D103", 1), ("# noqa:D103,E501", 1), ("# noqa: E501", 2), ("# noqa: D", 2)],
)
def test_ruff_mode_obeys_noqa(comment: str, total: int) -> None:
    assert counted(f"x = 1\ndef f(): pass  {comment}\n", Mode.RUFF).total == total


def test_ruff_mode_obeys_noqa_for_a_file() -> None:
    assert counted("# ruff: noqa: D100\ndef f(): pass\n", Mode.RUFF).total == 1
    assert counted("# flake8: noqa\ndef f(): pass\n", Mode.RUFF).total == 0
