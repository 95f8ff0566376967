"""Items in Rust source with their documentation."""

from __future__ import annotations

import pytest

from inference_server.predictors.docdetector import rust


def documented(source: str) -> dict[str, bool]:
    return {item.name: item.documented for item in rust.parse(source.encode()).items}


@pytest.mark.parametrize(
    "documentation",
    [
        "/// text",
        "/** text */",
        '#[doc = "text"]',
        '#[doc = r#"text"#]',
        '#[doc = include_str!("../README.md")]',
        '#[cfg_attr(feature = "full", doc = "text")]',
        "/// text\n// plain\n#[inline]",
        '#[cfg(any(unix, feature = "a"))]\n/// text\n\n#[must_use]',
    ],
)
def test_what_documents_an_item(documentation: str) -> None:
    assert documented(f"{documentation}\npub fn f() {{}}\nfn g() {{}}") == {"": False, "f": True, "g": False}


@pytest.mark.parametrize(
    "plain",
    [
        "//// plain",
        "/*** plain */",
        "/***/",
        "/**/",
        "// plain",
        "/* plain */",
        "///",
        '#[doc = ""]',
        "#[doc(hidden)]",
        '#[cfg_attr(feature = "doc = x", inline)]',
        "/// of another item\nuse a::b;",
        'const S: &str = "\n/// text\n";',
    ],
)
def test_what_documents_no_item(plain: str) -> None:
    assert documented(f"{plain}\nfn f() {{}}")["f"] is False


def test_inner_documentation_is_of_what_it_is_in() -> None:
    source = "//! crate\nmod m { //! module\n fn f() { /*! function */ } }\nmod n {}\n"
    assert documented(source) == {"": True, "m": True, "m::f": True, "n": False}


def test_items_in_items() -> None:
    source = """\
/// struct
struct S { /// field
  a: u8, b: u8 }
enum E { /// variant
  A, B { /// field
  c: u8 } }
trait T { /// method
  fn m(); type U; const C: u8; }
impl S { /// method
  fn n() { /// nested
    fn o() {} } }
union U { d: u8 }
static X: u8 = 0;
type Y = u8;
"""
    found = documented(source)
    assert [name for name in found if found[name]] == [
        "S",
        "S::a",
        "E::A",
        "E::B::c",
        "T::m",
        "S::n",
        "S::n::o",
    ]
    assert [name for name in found if not found[name]] == [
        *("", "S::b", "E", "E::B", "T", "T::U", "T::C", "U", "U::d", "X", "Y")
    ]


def test_text_in_macros_is_no_documentation() -> None:
    source = """\
macro_rules! m { () => { /// text
  fn a() {} } }
fn f() { let s = r#"/// text"#; println!("/// text"); quote! { /// text
  fn b() {} } }
call!(/// text
  fn c() {});
table! { /// text
  1, 2 }
"""
    found = rust.parse(source.encode())
    assert not found.has_documentation
    assert [item.name for item in found.items] == ["", "m", "f"]


def test_items_in_the_braces_of_a_macro_may_be_documented() -> None:
    found = rust.parse(b"cfg_unix! {\n  /// text\n  pub fn f() {}\n}\n")
    assert found.has_documentation
    assert found.spans == [(2, 2)]
    assert [item.name for item in found.items] == [""]


def test_lines_of_documentation_and_of_items() -> None:
    found = rust.parse(b"//! a\n\n/// b\n/// c\nfn f() {\n}\n")
    assert found.spans == [(1, 1), (3, 3), (4, 4)]
    assert [(item.line, item.end_line) for item in found.items] == [(1, 6), (5, 6)]


@pytest.mark.parametrize(
    "source", [b"", b"\t", b"\xff\xfe", b"fn f( {", b"{" * 100_000, b"fn f() {}\r\n/// x\r\nfn g() {}"]
)
def test_any_bytes_give_an_answer(source: bytes) -> None:
    assert rust.parse(source).items[0].kind == "module"


def test_broken_source_says_so() -> None:
    assert rust.parse(b"fn f( {").broken
    assert not rust.parse(b"fn f() {}").broken
