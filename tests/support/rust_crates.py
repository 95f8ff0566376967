"""Small crates, and what ``rustdoc --show-coverage`` counts in each (documented, total)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

MANIFEST: Final = '[package]\nname = "example"\nversion = "0.1.0"\nedition = "2021"\n'
DEFAULT: Final = frozenset({"default"})


@dataclass(frozen=True)
class RustCrate:
    """Files of a crate and its totals."""

    files: dict[str, str]
    expected: tuple[int, int]
    features: frozenset[str] = DEFAULT


def write_crate(directory: Path, files: dict[str, str]) -> Path:
    """Write a crate, with a manifest if it has none."""
    for name, text in {"Cargo.toml": MANIFEST, **files}.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return directory


CRATES: Final = {
    "kinds": RustCrate(
        {
            "src/lib.rs": """\
//! Crate.
/// S
pub struct S { /// a
  pub a: u8, pub b: u8, c: u8 }
pub struct T(pub u8, /** second */ pub u8);
pub enum E { A, /// B
  B { c: u8 }, C(u8) }
pub union U { pub a: u8 }
pub trait Tr { fn m(); const C: u8; type A; /// n
  fn n() {} }
impl Tr for S { fn m() {} const C: u8 = 1; type A = u8; }
impl S { /// new
  pub fn new() -> u8 { 0 } fn private() {} pub(crate) fn restricted() {} pub const K: u8 = 1; }
pub const C: u8 = 1;
pub static X: u8 = 1;
pub type Y = u8;
pub fn f() {}
fn g() {}
/// empty follows
pub mod m { pub fn h() {} }
mod private { pub fn i() {} }
#[macro_export] macro_rules! exported { () => {} }
macro_rules! local { () => {} }
pub const _: u8 = 1;
extern "C" { pub fn foreign(); fn hidden_foreign(); }
"""
        },
        (8, 28),
    ),
    "conditions": RustCrate(
        {
            "Cargo.toml": MANIFEST + '[features]\ndefault = ["a"]\na = ["b"]\nb = []\nc = []\n',
            "src/lib.rs": """\
#![cfg_attr(feature = "b", doc = "Crate.")]
#[cfg(feature = "a")] /// yes
pub fn a() {}
#[cfg(feature = "c")] pub fn c() {}
#[cfg(all(unix, not(windows), any(target_os = "linux", target_os = "macos")))] pub fn unix_only() {}
#[cfg(test)] pub fn test_only() {}
#[cfg_attr(docsrs, doc(hidden))] pub fn shown() {}
#[cfg_attr(doc, doc(hidden))] pub fn hidden() {}
pub struct S { #[cfg(windows)] pub a: u8, pub b: u8 }
pub enum E { #[cfg(windows)] A, B }
""",
        },
        (2, 8),
    ),
    "reexports": RustCrate(
        {
            "src/lib.rs": """\
mod a;
pub mod public;
pub use a::One;
pub use a::Two as Renamed;
/// documented where it is exported
pub use a::undocumented;
pub use self::glob::*;
#[doc(no_inline)] pub use a::NotInlined;
#[doc(inline)] pub use public::Inlined;
pub use public::NotInlined2;
#[doc(hidden)] pub use a::Hidden;
mod glob { pub fn g1() {} fn g2() {} pub use super::a::Deep; pub mod inner { /// g3
  pub fn g3() {} } pub struct G; impl G { pub fn method(&self) {} } }
""",
            "src/a.rs": """\
/// One
pub struct One;
impl One { pub fn not_counted(&self) {} }
pub struct Two;
pub fn undocumented() {}
pub struct NotInlined;
pub struct Hidden;
pub enum Deep { A }
pub struct Never;
""",
            "src/public/mod.rs": """\
/// Inlined
pub struct Inlined;
pub struct NotInlined2;
impl Inlined { pub fn counted(&self) {} }
""",
        },
        (5, 15),
    ),
    "macros": RustCrate(
        {
            "src/lib.rs": """\
#[macro_use] mod macros;
cfg_on! { /// in a macro
  pub fn a() {} pub mod from_macro; }
cfg_off! { pub fn b() {} }
define! { /// c
  c, d }
wrap!(Wrapper(u8) => { /// w
  width });
""",
            "src/macros.rs": """\
macro_rules! cfg_on { ($($item:item)*) => { $( #[cfg(unix)] $item )* } }
macro_rules! cfg_off { ($($item:item)*) => { $( #[cfg(windows)] $item )* } }
macro_rules! define { ($($(#[$meta:meta])* $name:ident),+ $(,)?) => { $( $(#[$meta])* pub struct $name; )+ } }
macro_rules! wrap { ($name:ident($ty:ty) => { $(#[$meta:meta])* $method:ident }) => {
  pub struct $name(pub $ty);
  impl $name { $(#[$meta])* pub fn $method(&self) -> $ty { self.0 } } } }
""",
            "src/from_macro.rs": "//! Module.\npub fn x() {}\n",
        },
        (4, 8),
    ),
    "allowed": RustCrate(
        {
            "src/lib.rs": """\
//! Crate.
#[allow(missing_docs)] pub mod a { pub fn f() {} /// g
  pub fn g() {} #[warn(missing_docs)] pub fn h() {} }
pub fn i() {}
"""
        },
        (2, 4),
    ),
    "aliases": RustCrate(
        {
            "src/lib.rs": """\
pub struct S<T>(T);
type Local = S<u8>;
impl Local { /// counted
  pub fn a(&self) {} }
struct Private;
pub type Public = Private;
impl Public { pub fn b(&self) {} }
"""
        },
        (1, 4),
    ),
}
