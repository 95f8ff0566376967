"""Definitions in Python source, by the standard library's parser."""

from __future__ import annotations

import ast
import warnings
from dataclasses import dataclass
from typing import Final

from inference_server.predictors.docdetector.items import Item

# Only statements that can hold other statements are looked into: expressions hold no definitions, and most
# of a tree is expressions.
_BLOCKS: Final[dict[type, tuple[str, ...]]] = {
    ast.If: ("body", "orelse"),
    ast.Try: ("body", "handlers", "orelse", "finalbody"),
    ast.TryStar: ("body", "handlers", "orelse", "finalbody"),
    ast.ExceptHandler: ("body",),
    ast.With: ("body",),
    ast.AsyncWith: ("body",),
    ast.For: ("body", "orelse"),
    ast.AsyncFor: ("body", "orelse"),
    ast.While: ("body", "orelse"),
    ast.Match: ("cases",),
    ast.match_case: ("body",),
}
_MODULE: Final = "module"


@dataclass(slots=True)
class Definition:
    """A module, class or function as every counting mode needs it.

    Attributes:
        name: Its own name; empty for a module.
        qualified: Its name with those of what it is nested in.
        kind: ``module``, ``class``, ``function`` (in a module), ``method`` (in a class), ``nested function``.
        parent: Index of what it is nested in; -1 for the module.
        line: The line of ``def`` or ``class`` itself, not of a decorator.
        end_line: The last line.
        has_docstring: Whether the first statement is a text, empty or not.
        documented: Whether that text holds more than white space.
        decorators: Dotted names of the decorators; calls end in ``()``, anything else is ``?``.
        body: Its statements.
    """

    name: str
    qualified: str
    kind: str
    parent: int
    line: int
    end_line: int
    has_docstring: bool
    documented: bool
    decorators: tuple[str, ...]
    body: list[ast.stmt]

    def item(self) -> Item:
        """Return what callers see of it."""
        return Item(self.qualified, self.kind, self.line, self.end_line, self.documented)


def parse(source: bytes | str) -> ast.Module:
    """Parse Python source.

    Raises:
        SyntaxError: if it is no Python of this interpreter's version, or has no valid encoding.
        RecursionError: if it is nested too deeply.
        MemoryError: if the parser's own stack is exhausted by nesting.
        ValueError: if it contains null bytes.
    """
    with warnings.catch_warnings():
        # An invalid escape in the text that is judged is no error of the detector.
        warnings.simplefilter("ignore")
        return ast.parse(source)


def definitions(tree: ast.Module) -> list[Definition]:
    """Return all definitions of a module in the order of the source, the module first."""
    has, documented = _docstring(tree.body)
    last = tree.body[-1].end_lineno if tree.body else 1
    found = [Definition("", "", _MODULE, -1, 1, last or 1, has, documented, (), tree.body)]
    # (statements that are still to be looked at in reverse order, index of the definition that they are in)
    stack: list[tuple[list[ast.AST], int]] = [(list(reversed(tree.body)), 0)]
    while stack:
        pending, parent = stack[-1]
        if not pending:
            stack.pop()
            continue
        node = pending.pop()
        kind = node.__class__
        if kind is ast.FunctionDef or kind is ast.AsyncFunctionDef or kind is ast.ClassDef:
            assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            found.append(_definition(node, found[parent], parent))
            stack.append((list(reversed(node.body)), len(found) - 1))
        elif kind in _BLOCKS:
            inner: list[ast.AST] = []
            for field in _BLOCKS[kind]:
                inner += getattr(node, field)
            inner.reverse()
            stack.append((inner, parent))
    return found


def _definition(
    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef, parent: Definition, index: int
) -> Definition:
    if isinstance(node, ast.ClassDef):
        kind = "class"
    elif parent.kind == "class":
        kind = "method"
    else:
        kind = "function" if parent.kind == _MODULE else "nested function"
    has, documented = _docstring(node.body)
    qualified = f"{parent.qualified}.{node.name}" if parent.qualified else node.name
    decorators = tuple(map(_dotted, node.decorator_list)) if node.decorator_list else ()
    return Definition(
        node.name,
        qualified,
        kind,
        index,
        node.lineno,
        node.end_lineno or node.lineno,
        has,
        documented,
        decorators,
        node.body,
    )


def _docstring(body: list[ast.stmt]) -> tuple[bool, bool]:
    """Tell whether the first statement is a text, and whether it says something."""
    if body:
        first = body[0]
        if first.__class__ is ast.Expr:
            value = first.value
            if value.__class__ is ast.Constant and isinstance(value.value, str):
                return True, not (value.value.isspace() or not value.value)
    return False, False


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Call):
        return _dotted(node.func) + "()"
    names = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return "?"
    return ".".join([node.id, *reversed(names)])
