"""Which definitions ruff's rules D100 to D107 ask a docstring of: public ones, as ruff 0.17 decides it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from inference_server.predictors.docdetector.python import Definition

_TYPING: Final = frozenset({"typing", "typing_extensions", "_typeshed"})
_NOQA: Final = re.compile(
    r"# *(?:(?P<file>(?i:ruff|flake8)) *: *)?(?i:noqa)"
    r"(?:(?P<colon>\s*:)\s*(?P<codes>[A-Z]+[0-9]+(?:[\s,]*[A-Z]+[0-9]+)*)?|(?=[\s#]|$))"
)
_CODE: Final = re.compile(r"[A-Z]+[0-9]+")


def counted(
    found: list[Definition], tree: ast.Module, text: str, path: Path
) -> Iterator[tuple[Definition, str]]:
    """Public definitions with the rule that would name each if it had no docstring.

    A definition that a ``noqa`` comment exempts is left out. Stubs (``.pyi``) have none.

    Args:
        found: All definitions of the file, the module first.
        tree: The same file's tree, for ``__all__`` and imports.
        text: Its text, for ``noqa`` comments.
        path: Where it lies, for the names of its packages.
    """
    if path.suffix == ".pyi":
        return
    exports = _exports(tree) if "__all__" in text else None
    typing_names = _typing_imports(tree) if "overload" in text or "override" in text else {}
    exempt = _Exempt(text) if "noqa" in text.lower() else None
    public: list[bool] = []
    for definition in found:
        public.append(_is_public(definition, found, public, exports, path))
        if not public[-1] or (definition.decorators and _is_typing_helper(definition, typing_names)):
            continue
        rule = _rule(definition, found, path)
        if exempt is None or not exempt(definition.line, rule):
            yield definition, rule


def _is_public(
    definition: Definition, found: list[Definition], public: list[bool], exports: set[str] | None, path: Path
) -> bool:
    name, kind = definition.name, definition.kind
    if kind == "module":
        return not any(_private_module(part) for part in module_path(path))
    if kind == "nested function" or not public[definition.parent]:
        return False
    if kind == "method":
        if any(decorator in {f"{name}.setter", f"{name}.deleter"} for decorator in definition.decorators):
            return False
        return not name.startswith("_") or (name.startswith("__") and name.endswith("__"))
    parent = found[definition.parent]
    if parent.kind == "module":
        if exports is not None and name not in exports:
            return False
    elif parent.kind != "class":
        return False
    return not name.startswith("_")


def _rule(definition: Definition, found: list[Definition], path: Path) -> str:
    name = definition.name
    if definition.kind == "module":
        return "D104" if path.name == "__init__.py" else "D100"
    if definition.kind == "class":
        return "D101" if found[definition.parent].kind == "module" else "D106"
    if definition.kind != "method":
        return "D103"
    if name == "__init__":
        return "D107"
    is_magic = name.startswith("__") and name.endswith("__")
    return "D105" if is_magic and name not in {"__new__", "__call__"} else "D102"


def module_path(path: Path) -> tuple[str, ...]:
    """Return the dotted name of a file as a tuple.

    Its packages (directories with ``__init__.py``) and its stem.
    """
    path = Path(path).absolute()
    parts = [path.stem]
    directory = path.parent
    while (directory / "__init__.py").is_file() and directory.parent != directory:
        parts.append(directory.stem)
        directory = directory.parent
    return tuple(reversed(parts))


def _private_module(name: str) -> bool:
    return name.startswith("_") and not (name.startswith("__") and name.endswith("__"))


def _is_typing_helper(definition: Definition, names: dict[str, str]) -> bool:
    """Tell whether it is an ``@overload``, or a method with ``@override``."""
    wanted = {"overload", "override"} if definition.kind == "method" else {"overload"}
    for decorator in definition.decorators:
        first, dot, rest = decorator.removesuffix("()").partition(".")
        if first not in names:
            continue
        module, _, target = (names[first] + dot + rest).rpartition(".")
        if module in _TYPING and target in wanted:
            return True
    return False


def _typing_imports(tree: ast.Module) -> dict[str, str]:
    """Return what names bound by imports mean, for ``typing`` and its like."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name in _TYPING:
                    names[alias.asname or alias.name] = alias.name
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module in _TYPING:
            for alias in node.names:
                if alias.name == "*":
                    names |= {one: f"{node.module}.{one}" for one in ("overload", "override")}
                else:
                    names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


def _exports(tree: ast.Module) -> set[str] | None:
    """Return the names in ``__all__`` as far as they can be read; None where it is never assigned."""
    names: set[str] | None = None
    pending: list[ast.AST] = list(tree.body)
    while pending:
        node = pending.pop()
        target: ast.expr | None = None
        value: ast.expr | None = None
        if isinstance(node, ast.Assign):
            target, value = node.targets[0], node.value
        elif isinstance(node, ast.AnnAssign | ast.AugAssign):
            target, value = node.target, node.value
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Expr):
            pending += [
                child
                for child in ast.iter_child_nodes(node)
                if isinstance(child, ast.stmt | ast.ExceptHandler | ast.match_case)
            ]
        if isinstance(target, ast.Name) and target.id == "__all__":
            names = (names or set()) | set(_listed(value))
    return names


def _listed(value: ast.expr | None) -> Iterator[str]:
    while isinstance(value, ast.BinOp):
        yield from _elements(value.right)
        value = value.left
    yield from _elements(value)


def _elements(value: ast.expr | None) -> Iterator[str]:
    if isinstance(value, ast.NamedExpr):
        yield from _elements(value.value)
        return
    if isinstance(value, ast.Call) and not value.keywords and len(value.args) == 1:
        function = value.func.value if isinstance(value.func, ast.Subscript) else value.func
        argument = value.args[0]
        if (
            isinstance(function, ast.Name)
            and function.id in {"list", "tuple"}
            and isinstance(argument, ast.List | ast.Set | ast.Tuple)
        ):
            yield from _texts(argument.elts)
    elif isinstance(value, ast.List | ast.Tuple):
        yield from _texts(value.elts)


def _texts(elements: list[ast.expr]) -> Iterator[str]:
    for element in elements:
        if isinstance(element, ast.Constant) and isinstance(element.value, str):
            yield element.value


class _Exempt:
    """Which rules ``noqa`` comments switch off, for a line or for the file."""

    def __init__(self, text: str) -> None:
        self._file: set[str] = set()
        self._lines: dict[int, set[str]] = {}
        for number, line in enumerate(text.splitlines(), 1):
            if "noqa" not in line.lower():
                continue
            for match in _NOQA.finditer(line):
                if match["colon"] and not match["codes"]:
                    continue  # ruff warns of it and ignores it
                codes = set(_CODE.findall(match["codes"] or "")) or {"*"}
                if match["file"] is None:
                    self._lines.setdefault(number, set()).update(codes)
                elif line.strip().startswith("#"):
                    self._file |= codes

    def __call__(self, line: int, rule: str) -> bool:
        """Tell whether a rule is off for a line."""
        codes = self._file | self._lines.get(line, set())
        return "*" in codes or rule in codes
