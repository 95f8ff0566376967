"""What ``rustdoc --show-coverage`` counts: the public items of a crate where its documentation shows them.

The steps are rustdoc's own: collect the items of each module and what its public ``use`` declarations
inline, drop what is hidden or not public, and count what is left.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from inference_server.predictors.docdetector.items import Item
from inference_server.predictors.docdetector.rustdoc.crate import Crate
from inference_server.predictors.docdetector.rustdoc.names import Names, Target, Use
from inference_server.predictors.docdetector.rustdoc.syntax import Node
from inference_server.predictors.docdetector.rustdoc.tokens import Token


@dataclass
class _Entry:
    """An item at one place of the documentation, with the declarations that bring it there."""

    node: Node
    name: str
    chain: tuple[Use, ...] = ()

    @property
    def is_hidden(self) -> bool:
        if not self.chain:
            return self.node.attributes.hidden
        first = self.chain[0]
        if first.node.attributes.inline or (first.glob and not self.node.attributes.hidden):
            return False
        return self.node.attributes.hidden or any(use.node.attributes.hidden for use in self.chain)

    @property
    def is_documented(self) -> bool:
        return self.node.attributes.docs or any(
            use.node.attributes.docs for use in self.chain if not use.glob
        )


@dataclass
class _Page:
    """A module of the documentation."""

    entry: _Entry
    entries: dict[tuple[Node, str], _Entry] = field(default_factory=dict)
    pages: list[_Page] = field(default_factory=list)


class Coverage:
    """Counts a crate."""

    def __init__(self, crate: Crate, missing_docs: str = "") -> None:
        self._crate = crate
        self._names = Names(crate)
        self._missing_docs = missing_docs
        self._being_inlined: set[Node] = {crate.root}
        self._pages: list[_Page] = []
        self._inlining = False
        self._public_path = True

    def counted(self) -> Iterator[tuple[str, Item]]:
        """Each item that counts, with the file that it counts for."""
        root = _Page(_Entry(self._crate.root, "crate"))
        self._pages = [root]
        self._visit_contents(self._crate.root)
        for macro in self._crate.macros:
            root.entries[macro, macro.name] = _Entry(macro, macro.name)
        kept = {entry.node for entry in _kept(root)}
        yield from self._page(root, "crate", kept)

    # Collecting

    def _visit_contents(self, module: Node) -> None:
        before = self._public_path
        self._public_path = before and module.is_public
        declarations = [child for child in module.children if child.kind == "use"]
        for child in module.children:
            if child.kind != "use":
                self._visit(child, "", ())
        for glob in (False, True):
            for declaration in declarations:
                for use in self._names.of(declaration):
                    if use.glob == glob:
                        self._visit_use(use, "")
        self._public_path = before

    def _visit(self, node: Node, renamed: str, chain: tuple[Use, ...]) -> None:
        page = self._pages[-1]
        if node.kind == "foreign":
            for item in node.children:
                self._visit(item, renamed, chain)
        elif self._inlining and not node.is_public:
            return
        elif node.kind == "use":
            for use in self._names.of(node):
                self._visit_use(use, renamed)
        elif node.kind == "mod":
            self._visit_module(node, renamed, chain)
        elif node.kind in {"macro_rules", "macro"}:
            if self._inlining and node.is_public:
                page.entries[node, renamed] = _Entry(node, renamed or node.name, chain)
        elif node.kind == "impl":
            if not self._inlining and not _is_of_trait(node):
                page.entries[node, ""] = _Entry(node, "")
        elif node.kind != "extern_crate" and (renamed or node.name) != "_":
            page.entries[node, renamed] = _Entry(node, renamed or node.name, chain)

    def _visit_module(self, node: Node, renamed: str, chain: tuple[Use, ...]) -> None:
        page = _Page(_Entry(node, renamed or node.name, chain))
        self._pages.append(page)
        self._visit_contents(node)
        self._pages.pop()
        self._pages[-1].pages.append(page)

    def _visit_use(self, use: Use, renamed: str) -> None:
        if not use.node.is_public or not self._public_path or use.name == "_":
            return
        for target in self._names.targets(use):
            if self._is_inlined(use, target):
                self._inline(use, target, "" if use.glob else renamed or use.name)

    def _is_inlined(self, use: Use, target: Target) -> bool:
        attributes = use.node.attributes
        if attributes.no_inline:
            return False
        if attributes.inline:
            return True
        node = target.node
        inherits_hidden = any(one.attributes.hidden for one in node.ancestors())
        if _is_directly_public(node) and not inherits_hidden:
            return False
        if node.attributes.hidden and node.kind != "mod":
            return False
        # Where the declaration that it comes through is itself public, that one shows it.
        through = target.chain[1].node if len(target.chain) > 1 else node
        return not (
            _is_directly_public(through)
            and not through.attributes.hidden
            and not any(one.attributes.hidden for one in through.ancestors())
        )

    def _inline(self, use: Use, target: Target, renamed: str) -> None:
        node = target.node
        is_macro = node.kind in {"macro_rules", "macro"}
        if node in self._being_inlined and not is_macro:
            return
        newly = node not in self._being_inlined
        self._being_inlined.add(node)
        before, self._inlining = self._inlining, True
        if not use.glob:
            if node.kind != "variant":
                self._visit(node, renamed, target.chain)
        elif node.kind == "mod":
            for child in node.children:
                self._visit(child, "", (use,))
        self._inlining = before
        if newly:
            self._being_inlined.discard(node)

    # Counting

    def _page(self, page: _Page, name: str, kept: set[Node]) -> Iterator[tuple[str, Item]]:
        yield from self._one(page.entry.node, "module", name, documented=page.entry.is_documented)
        for inner in page.pages:
            if _is_shown(inner.entry):
                yield from self._page(inner, f"{name}::{inner.entry.name}", kept)
        for entry in page.entries.values():
            if entry.node.kind == "impl":
                if self._is_kept(entry.node, kept) and not entry.node.attributes.hidden:
                    yield from self._children(entry.node, name)
            elif _is_shown(entry):
                here = f"{name}::{entry.name}"
                yield from self._one(entry.node, entry.node.kind, here, documented=entry.is_documented)
                yield from self._children(entry.node, here)

    def _children(self, node: Node, name: str) -> Iterator[tuple[str, Item]]:
        for child in node.children:
            if child.attributes.hidden:
                continue
            if node.kind in {"struct", "union", "impl"} and not child.is_public:
                continue
            here = f"{name}::{child.name}"
            yield from self._one(child, child.kind, here, documented=child.attributes.docs)
            yield from self._children(child, here)

    def _one(self, node: Node, kind: str, name: str, *, documented: bool) -> Iterator[tuple[str, Item]]:
        expected = kind != "tuple_field" and self._level(node) != "allow"
        if documented or expected:
            yield node.file, Item(name, kind, 0, 0, documented)

    def _level(self, node: Node) -> str:
        for one in (node, *node.ancestors()):
            if one.attributes.missing_docs:
                return one.attributes.missing_docs
        return self._missing_docs

    def _is_kept(self, implementation: Node, kept: set[Node]) -> bool:
        """Tell whether the type that a block is for is shown anywhere; types of other crates are."""
        path = _self_type(implementation)
        module = next(one for one in implementation.ancestors() if one.kind == "mod")
        node = self._names.type_of(module, path) if path else None
        seen: set[Node] = set()
        while node is not None and node.kind == "type" and node not in seen:
            seen.add(node)
            module = next(one for one in node.ancestors() if one.kind == "mod")
            path = _aliased(node)
            node = self._names.type_of(module, path) if path else None
        return node is None or node in kept


def _kept(page: _Page) -> Iterator[_Entry]:
    for entry in page.entries.values():
        if _is_shown(entry):
            yield entry
    for inner in page.pages:
        if _is_shown(inner.entry):
            yield from _kept(inner)


def _is_shown(entry: _Entry) -> bool:
    is_public = bool(entry.chain) or entry.node.is_public
    return is_public and not entry.is_hidden


def _is_directly_public(node: Node) -> bool:
    if node.kind == "macro_rules":
        return node.is_public
    own = node.is_public or node.kind == "variant"
    return own and all(one.is_public for one in node.ancestors() if one.kind != "foreign")


def _is_of_trait(node: Node) -> bool:
    """Tell whether a block implements a trait."""
    tokens = node.tokens
    return any(
        token.is_word("for") and not tokens[at + 1].is_punct("<")
        for at, token in enumerate(tokens[:-1])
        if not token.is_word("where")
    ) and not _where_comes_first(tokens)


def _where_comes_first(tokens: list[Token]) -> bool:
    for at, token in enumerate(tokens):
        if token.is_word("where"):
            return True
        if token.is_word("for") and not tokens[at + 1].is_punct("<"):
            return False
    return False


def _aliased(alias: Node) -> tuple[str, ...]:
    """Return the path of the type that an alias is for."""
    at = next((at for at, token in enumerate(alias.tokens) if token.is_punct("=")), len(alias.tokens))
    block = Node("impl", "", "", alias.attributes, [Token("ident", "impl"), *alias.tokens[at + 1 :]])
    return _self_type(block)


def _self_type(node: Node) -> tuple[str, ...]:
    """Return the path of the type that an inherent block is for; empty where it is no path."""
    tokens = node.tokens
    at = 1
    while at < len(tokens) and not tokens[at - 1].is_word("impl"):
        at += 1
    if at < len(tokens) and tokens[at].is_punct("<"):
        depth = 0
        while at < len(tokens):
            if tokens[at].kind == "punct" and tokens[at].text in {"<", "<<", ">", ">>"}:
                depth += len(tokens[at].text) * (1 if tokens[at].text[0] == "<" else -1)
            at += 1
            if not depth:
                break
    while at < len(tokens) and (tokens[at].text in {"&", "mut"} or tokens[at].kind == "lifetime"):
        at += 1
    if at < len(tokens) and tokens[at].is_group(""):
        return _self_type(Node("impl", "", "", node.attributes, [Token("ident", "impl"), *tokens[at].inner]))
    path: list[str] = []
    while at < len(tokens) and (tokens[at].kind == "ident" or tokens[at].is_punct("::")):
        if tokens[at].kind == "ident":
            path.append(tokens[at].text)
        at += 1
    return tuple(path)
