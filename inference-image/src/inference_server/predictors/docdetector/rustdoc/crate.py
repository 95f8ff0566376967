"""Loads the modules of a crate, expands its macros and holds every item."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from inference_server.predictors.docdetector.counting import refused
from inference_server.predictors.docdetector.rustdoc import syntax
from inference_server.predictors.docdetector.rustdoc.cfg import Attributes, Conditions, split
from inference_server.predictors.docdetector.rustdoc.fragments import past_angles
from inference_server.predictors.docdetector.rustdoc.macros import MOST_TOKENS, Macro, size
from inference_server.predictors.docdetector.rustdoc.syntax import Cursor, Node
from inference_server.predictors.docdetector.rustdoc.tokens import Token, read

_WRAPPERS: Final = frozenset({"pin_project"})
"""Macros of other crates that hand the items in them on as they are."""
_DEEPEST: Final = 64
"""Macros may call macros; one that never ends is left alone after so many."""


@dataclass
class Crate:
    """All items of a crate.

    Attributes:
        root: The crate's own module.
        macros: Exported macros; they lie in the root whatever module defines them.
        errors: Files that could not be read, with the reason.
    """

    root: Node
    macros: list[Node] = field(default_factory=list)
    errors: dict[str, str] = field(default_factory=dict)


def load(root: Path, conditions: Conditions) -> Crate:
    """Load a crate from the file that it begins with."""
    module = Node("mod", "crate", "pub", Attributes(), [], file=str(root))
    loader = _Loader(conditions, Crate(module))
    loader.file(module, root, root.parent, {})
    return loader.crate


class _Loader:
    def __init__(self, conditions: Conditions, crate: Crate) -> None:
        self._conditions = conditions
        self._known: dict[str, Macro] = {}
        """Every macro by its name, for calls by path."""
        self._open: list[Path] = []
        """The files whose modules are being read, the outermost first."""
        self._tokens_left = MOST_TOKENS
        self.crate = crate

    def file(self, module: Node, path: Path, directory: Path, scope: dict[str, Macro]) -> None:
        """Read the items of a module from a file; its submodules lie in a directory."""
        module.file = str(path)
        try:
            problem = refused(path) or ("the module includes itself" if path.resolve() in self._open else "")
            if problem:
                raise ValueError(problem)
            tokens = read(path.read_text(encoding="utf-8-sig"))
        except (OSError, ValueError) as error:
            self.crate.errors[str(path)] = str(error)
            return
        self._open.append(path.resolve())
        self._items(module, tokens, directory, scope)
        self._open.pop()

    def _items(
        self, module: Node, tokens: list[Token], directory: Path, scope: dict[str, Macro], depth: int = 0
    ) -> None:
        owner = module.attributes if not depth else None
        for node in syntax.items(tokens, self._conditions, owner):
            node.parent, node.file = module, module.file
            if node.kind == "call":
                self._call(node, module, directory, scope, depth)
            elif node.kind == "macro_rules":
                self._known[node.name] = scope[node.name] = Macro(node.tokens)
                if "macro_export" in node.attributes.words:
                    node.visibility = "pub"
                    self.crate.macros.append(node)
                module.children.append(node)
            elif node.kind == "mod":
                self._module(node, module, directory, scope)
            else:
                module.children.append(node)
                self._contents(node, scope)

    def _call(self, node: Node, module: Node, directory: Path, scope: dict[str, Macro], depth: int) -> None:
        arguments = node.tokens[-1] if node.tokens[-1].kind == "group" else node.tokens[-2]
        made = self._expanded(node.name, arguments.inner, scope)
        if made is not None and depth < _DEEPEST:
            self._items(module, made, directory, scope, depth + 1)

    def _expanded(self, name: str, arguments: list[Token], scope: dict[str, Macro]) -> list[Token] | None:
        macro = scope.get(name) or self._known.get(name)
        if macro is not None:
            return self._budgeted(macro.expand(arguments) if self._tokens_left > 0 else None)
        if name in _WRAPPERS:
            return arguments
        return self._chosen(arguments) if name == "cfg_if" else None

    def _budgeted(self, made: list[Token] | None) -> list[Token] | None:
        """Count what macros made; once it is too much, nothing more is expanded."""
        if made is not None:
            self._tokens_left -= 1 + size(made)
        if self._tokens_left > 0:
            return made
        where = f"{self.crate.root.file}: macros"
        self.crate.errors[where] = (
            f"they make over {MOST_TOKENS} tokens; what they make further is not counted"
        )
        return None

    def _chosen(self, arguments: list[Token]) -> list[Token]:
        """Return the branch of ``cfg_if!`` whose condition holds."""
        holds = True
        for token in arguments:
            if token.is_group("["):
                holds = all(self._conditions.hold(part) for part in split(token.inner[1].inner))
            elif token.is_group("{"):
                if holds:
                    return token.inner
                holds = True
        return []

    def _module(self, node: Node, parent: Node, directory: Path, scope: dict[str, Macro]) -> None:
        inner = dict(scope)
        body = node.tokens[-1]
        below = directory / node.name.removeprefix("r#")
        if body.is_group("{"):
            self._items(
                node, body.inner, directory / node.attributes.path if node.attributes.path else below, inner
            )
        else:
            path = self._found(node, parent, directory, below)
            if path is None:
                self.crate.errors[node.name] = f"no file for the module {node.name} in {directory}"
                return
            is_root = path.name == "mod.rs" or node.attributes.path
            self.file(node, path, path.parent if is_root else path.parent / path.stem, inner)
        if not node.attributes.compiled:
            return
        parent.children.append(node)
        if "macro_use" in node.attributes.words:
            scope |= inner

    @staticmethod
    def _found(node: Node, parent: Node, directory: Path, below: Path) -> Path | None:
        if node.attributes.path:
            return Path(parent.file).parent / node.attributes.path
        for candidate in (directory / f"{below.name}.rs", below / "mod.rs"):
            if candidate.is_file():
                return candidate
        return None

    def _contents(self, node: Node, scope: dict[str, Macro]) -> None:
        """Find what is in a trait, an impl, a block of foreign items, a struct or an enum."""
        body = node.tokens[-1]
        if node.kind in {"trait", "impl", "foreign"} and body.is_group("{"):
            self._associated(node, body.inner, scope, 0)
        elif node.kind in {"struct", "union"}:
            self._fields(node, node.tokens)
        elif node.kind == "enum" and body.is_group("{"):
            self._variants(node, body.inner)

    def _associated(self, node: Node, tokens: list[Token], scope: dict[str, Macro], depth: int) -> None:
        for item in syntax.items(tokens, self._conditions, node.attributes if not depth else None):
            item.parent, item.file = node, node.file
            if item.kind != "call":
                node.children.append(item)
                continue
            made = self._expanded(item.name, _arguments(item), scope)
            if made is not None and depth < _DEEPEST:
                self._associated(node, made, scope, depth + 1)

    def _fields(self, node: Node, tokens: list[Token]) -> None:
        # After the name and its generics stands the body of a tuple, or later that of fields.
        at = past_angles(tokens, 2) if node.kind in {"struct", "union"} else 0
        if at < len(tokens) and tokens[at].is_group("("):
            body = tokens[at]
        else:
            named_body = next((token for token in tokens[at:] if token.is_group("{")), None)
            if named_body is None:
                return
            body = named_body
        named = body.is_group("{")
        for part in _parts(body.inner):
            cursor = Cursor(part)
            attributes = cursor.attributes(self._conditions)
            visibility = cursor.visibility()
            name = cursor.peek().text if named else ""
            kind = "field" if named else "tuple_field"
            if attributes.compiled and cursor.at < len(part):
                node.children.append(Node(kind, name, visibility, attributes, [], node, node.file))

    def _variants(self, node: Node, tokens: list[Token]) -> None:
        for part in split(tokens):
            cursor = Cursor(part)
            attributes = cursor.attributes(self._conditions)
            cursor.visibility()
            if attributes.compiled and cursor.peek().kind == "ident":
                variant = Node("variant", cursor.peek().text, "pub", attributes, [], node, node.file)
                self._fields(variant, part[cursor.at + 1 : cursor.at + 2])
                node.children.append(variant)


def _arguments(node: Node) -> list[Token]:
    return next((token.inner for token in reversed(node.tokens) if token.kind == "group"), [])


def _parts(tokens: list[Token]) -> list[list[Token]]:
    """Parts between commas that are not within angle brackets."""
    parts: list[list[Token]] = [[]]
    depth = 0
    for token in tokens:
        if token.kind == "punct":
            if token.text in {"<", "<<"}:
                depth += len(token.text)
            elif token.text in {">", ">>", ">>=", ">="}:
                depth = max(depth - token.text.count(">"), 0)
            elif token.text == "," and not depth:
                parts.append([])
                continue
        parts[-1].append(token)
    return [part for part in parts if part]
