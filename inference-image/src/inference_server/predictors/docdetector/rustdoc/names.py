"""What the paths of ``use`` declarations and of types mean within a crate."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from inference_server.predictors.docdetector.rustdoc.cfg import split
from inference_server.predictors.docdetector.rustdoc.crate import Crate
from inference_server.predictors.docdetector.rustdoc.syntax import Node
from inference_server.predictors.docdetector.rustdoc.tokens import Token

NAMESPACES: Final = ("type", "value", "macro")
_NAMESPACE: Final = {
    **dict.fromkeys(("mod", "struct", "enum", "union", "trait", "type"), "type"),
    **dict.fromkeys(("fn", "const", "static"), "value"),
    "macro_rules": "macro",
    "macro": "macro",
}


@dataclass(eq=False)
class Use:
    """One name that a ``use`` declaration brings in, or one glob.

    Attributes:
        node: The declaration.
        path: The segments of the path; empty strings do not occur.
        name: The name that it gets; ``_`` and empty (a glob) bring none in.
        glob: Whether it ends in ``*``.
        external: Whether it begins with ``::``.
        only_types: Whether it ends in ``self``, which names a module or type only.
    """

    node: Node
    path: tuple[str, ...]
    name: str
    glob: bool = False
    external: bool = False
    only_types: bool = False


@dataclass(eq=False)
class Target:
    """What a name means, and the declarations that it comes through, the first one first."""

    node: Node
    chain: tuple[Use, ...] = ()


def uses(node: Node) -> list[Use]:
    """Return all names and globs of one ``use`` declaration."""
    tokens = node.tokens[1:-1] if node.tokens and node.tokens[-1].is_punct(";") else node.tokens[1:]
    return list(_tree(node, tokens, ()))


def _tree(node: Node, tokens: list[Token], before: tuple[str, ...]) -> Iterator[Use]:
    path = list(before)
    external = bool(tokens) and not before and tokens[0].is_punct("::")
    for at, token in enumerate(tokens):
        if token.is_group("{"):
            for part in split(token.inner):
                yield from _tree(node, part, tuple(path))
            return
        if token.is_punct("*"):
            yield Use(node, tuple(path), "", glob=True, external=external)
            return
        if token.is_word("as"):
            yield _named(node, path, tokens[at + 1].text, external=external)
            return
        if token.kind == "ident":
            path.append(token.text.removeprefix("r#"))
    if path:
        yield _named(node, path, "", external=external)


def _named(node: Node, path: list[str], alias: str, *, external: bool) -> Use:
    only_types = len(path) > 1 and path[-1] == "self"
    if only_types:
        path = path[:-1]
    return Use(node, tuple(path), alias or path[-1], external=external, only_types=only_types)


class Names:
    """Resolves paths in a crate."""

    def __init__(self, crate: Crate) -> None:
        self._root = crate.root
        self._direct: dict[Node, dict[tuple[str, str], Node]] = {}
        self._uses: dict[Node, list[Use]] = {}
        self._of_declaration: dict[Node, list[Use]] = {}
        for macro in crate.macros:
            self._names(crate.root).setdefault(("macro", macro.name), macro)

    def of(self, declaration: Node) -> list[Use]:
        """Return all names and globs of a ``use`` declaration, the same objects every time."""
        if declaration not in self._of_declaration:
            self._of_declaration[declaration] = uses(declaration)
        return self._of_declaration[declaration]

    def targets(self, use: Use) -> Iterator[Target]:
        """Yield what a declaration brings in: a target for each namespace, for a glob the module."""
        module = _module(use.node)
        for namespace in ("type",) if use.glob or use.only_types else NAMESPACES:
            if use.external:
                return
            target = self._path(module, use.path, namespace, frozenset({(use, namespace)}))
            if target is not None:
                yield Target(target.node, (use, *target.chain))

    def type_of(self, module: Node, path: tuple[str, ...]) -> Node | None:
        """Return the type that a path means; a type alias is followed."""
        target = self._path(module, path, "type", frozenset())
        return target.node if target else None

    def _names(self, module: Node) -> dict[tuple[str, str], Node]:
        found = self._direct.get(module)
        if found is None:
            found = self._direct[module] = {}
            for child in module.children:
                children = child.children if child.kind == "foreign" else [child]
                for one in children:
                    namespace = "type" if one.kind == "variant" else _NAMESPACE.get(one.kind)
                    if namespace:
                        found.setdefault((namespace, one.name.removeprefix("r#")), one)
            self._uses[module] = [
                use for child in module.children if child.kind == "use" for use in self.of(child)
            ]
        return found

    def _path(
        self, module: Node, path: tuple[str, ...], namespace: str, seen: frozenset[tuple[Use, str]]
    ) -> Target | None:
        here: Node | None = module
        target: Target | None = Target(module)
        for number, segment in enumerate(path):
            last = number == len(path) - 1
            if here is None or here.kind not in {"mod", "enum"}:
                return None
            if segment in {"crate", "$crate"}:
                target = Target(self._root)
            elif segment == "super":
                target = Target(_module(here))
            elif segment != "self":
                target = self._lookup(here, segment, namespace if last else "type", seen)
            if target is None:
                return None
            here = target.node
        return target

    def _lookup(
        self, module: Node, name: str, namespace: str, seen: frozenset[tuple[Use, str]]
    ) -> Target | None:
        direct = self._names(module).get((namespace, name))
        if direct is not None:
            return Target(direct)
        if module.kind == "enum":
            return None
        for use in sorted(self._uses[module], key=lambda use: use.glob):
            if (use, namespace) in seen or use.external or not (use.glob or use.name == name):
                continue
            inside = seen | {(use, namespace)}
            if not use.glob:
                found = None
                if namespace == "type" or not use.only_types:
                    found = self._path(module, use.path, namespace, inside)
            else:
                around = self._path(module, use.path, "type", inside)
                found = (
                    self._lookup(around.node, name, namespace, inside)
                    if around and around.node.kind in {"mod", "enum"}
                    else None
                )
            if found is not None:
                return Target(found.node, (use, *found.chain))
        return None


def _module(node: Node) -> Node:
    """Return the module that something is in; the root is in itself."""
    return next((one for one in node.ancestors() if one.kind == "mod"), node)
