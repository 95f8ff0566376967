"""Items in Rust source with their doc comments and doc attributes, by tree-sitter."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

import tree_sitter
import tree_sitter_rust

from inference_server.predictors.docdetector.items import Item

_LANGUAGE: Final = tree_sitter.Language(tree_sitter_rust.language())
_KINDS: Final = {
    "function_item": "function",
    "function_signature_item": "function",
    "struct_item": "struct",
    "enum_item": "enum",
    "union_item": "union",
    "trait_item": "trait",
    "type_item": "type",
    "associated_type": "type",
    "const_item": "const",
    "static_item": "static",
    "mod_item": "module",
    "macro_definition": "macro",
    "field_declaration": "field",
    "enum_variant": "variant",
}
_QUERY: Final = tree_sitter.Query(
    _LANGUAGE,
    f"""
    [{" ".join(f"({kind})" for kind in _KINDS)}] @item
    [(impl_item) (foreign_mod_item)] @container
    (line_comment outer: (outer_doc_comment_marker)) @outer
    (block_comment outer: (outer_doc_comment_marker)) @outer
    (line_comment inner: (inner_doc_comment_marker)) @inner
    (block_comment inner: (inner_doc_comment_marker)) @inner
    (attribute_item) @attribute
    (inner_attribute_item) @inner_attribute
    (macro_invocation (token_tree) @tokens)
    (ERROR) @error
    """,
)
_STRINGS: Final = re.compile(rb'r(#*)".*?"\1|"(?:[^"\\]|\\.)*"', re.DOTALL)
_DOC_ATTRIBUTE: Final = re.compile(rb"#!?\s*\[\s*(?:doc\s*=|cfg_attr\s*\(.*,\s*doc\s*=)", re.DOTALL)
_EMPTY_TEXT: Final = re.compile(rb'#!?\s*\[\s*doc\s*=\s*r?#*"\s*"#*\s*\]')
_MARKERS: Final = b"/*! \t\r\n"


@dataclass(slots=True)
class RustFile:
    """What one file of Rust holds.

    Attributes:
        items: Its items in the order of the source; the first is the file's own module.
        has_documentation: Whether anything is documented, be it an ``impl`` or an item in a macro's braces.
        broken: Whether parts of it could not be parsed.
        spans: Lines, counted from 1, of each piece of documentation, both ends included.
    """

    items: list[Item]
    has_documentation: bool = False
    broken: bool = False
    spans: list[tuple[int, int]] = field(default_factory=list)


@dataclass(slots=True)
class _Open:
    """An item or block that the sweep is inside of."""

    end: int
    name: str
    item: Item | None


def parse(source: bytes) -> RustFile:
    """Find all items of a file, in bodies of functions too, but not in the arguments of macros."""
    tree = tree_sitter.Parser(_LANGUAGE).parse(source)
    captures = tree_sitter.QueryCursor(_QUERY).captures(tree.root_node)
    marked = [
        (node.start_byte, -node.end_byte, label, node) for label, nodes in captures.items() for node in nodes
    ]
    marked.sort(key=lambda one: one[:3])
    return _Sweep(source).over(marked)


class _Sweep:
    """Goes through the captured nodes in order and joins documentation to what follows it."""

    def __init__(self, source: bytes) -> None:
        self._source = source
        lines = source.count(b"\n") + (not source.endswith(b"\n") and bool(source))
        self._file = RustFile([Item("", "module", 1, max(lines, 1), False)])
        self._stack = [_Open(len(source) + 1, "", self._file.items[0])]
        self._documented = False
        """Whether documentation waits for the item that follows it."""
        self._end = 0
        """Where the last comment or attribute before that item ends."""

    def over(self, marked: list[tuple[int, int, str, tree_sitter.Node]]) -> RustFile:
        skip_until = 0
        for start, negative_end, label, node in marked:
            if start < skip_until:
                continue
            end = -negative_end
            while start >= self._stack[-1].end:
                self._stack.pop()
            if label == "tokens":
                if not self._holds_items(start, end, node):
                    skip_until = end
            elif label == "error":
                self._file.broken = True
            elif label in {"item", "container"}:
                self._item(start, end, node)
                if node.type == "macro_definition":
                    skip_until = end
            elif label in {"outer", "attribute"}:
                self._before(start, end, node, label)
            else:
                self._inside(start, end, node, label)
        self._file.has_documentation = bool(self._file.spans)
        return self._file

    def _says(self, start: int, end: int, label: str) -> bool:
        text = self._source[start:end]
        if label in {"outer", "inner"}:
            return bool(text.strip(_MARKERS))
        if b"doc" not in text or _EMPTY_TEXT.match(text):
            return False
        return _DOC_ATTRIBUTE.match(_STRINGS.sub(b'""', text)) is not None

    def _holds_items(self, start: int, end: int, node: tree_sitter.Node) -> bool:
        """Tell whether the arguments of a macro are items, as in ``cfg_unix! { /// text pub fn f() {} }``."""
        around = node.parent and node.parent.parent
        if around is not None and around.type == "expression_statement":
            around = around.parent
        if around is None or around.type not in {"source_file", "declaration_list", "ERROR"}:
            return False
        text = self._source[start:end]
        return text.startswith(b"{") and _ITEM.search(_PLAIN_COMMENTS.sub(b"", text)) is not None

    def _note(self, node: tree_sitter.Node) -> None:
        end_row, end_column = node.end_point
        self._file.spans.append((node.start_point[0] + 1, end_row + (end_column > 0)))

    def _before(self, start: int, end: int, node: tree_sitter.Node, label: str) -> None:
        if not self._adjoins(start):
            self._documented = False
        if self._says(start, end, label):
            self._documented = True
            self._note(node)
        self._end = end

    def _inside(self, start: int, end: int, node: tree_sitter.Node, label: str) -> None:
        if self._says(start, end, label.replace("inner_", "")):
            self._note(node)
            item = self._stack[-1].item
            if item is not None and item.kind in {"module", "function"}:
                item.documented = True

    def _adjoins(self, start: int) -> bool:
        """Tell whether only white space and plain comments follow the last comment or attribute."""
        between = self._source[self._end : start]
        return not between.strip() or not _PLAIN_COMMENTS.sub(b"", between).strip()

    def _item(self, start: int, end: int, node: tree_sitter.Node) -> None:
        documented = self._documented and self._adjoins(start)
        self._documented = False
        kind = _KINDS.get(node.type)
        name_node = node.child_by_field_name("name" if kind else "type")
        own = name_node.text.decode(errors="replace") if name_node is not None and name_node.text else ""
        parent = self._stack[-1].name
        name = f"{parent}::{own}" if parent else own
        item = None
        if kind:
            item = Item(name, kind, node.start_point[0] + 1, node.end_point[0] + 1, documented)
            self._file.items.append(item)
        self._stack.append(_Open(end, name, item))


_ITEM: Final = re.compile(rb"\b(?:fn|struct|enum|union|trait|type|const|static|mod)\s+\w")
_PLAIN_COMMENTS: Final = re.compile(rb"//[^\n]*|/\*.*?\*/", re.DOTALL)
