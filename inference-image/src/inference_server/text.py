"""The one light preprocessing of texts that training and every route share.

Emoji become the words of their Unicode names, because word-piece vocabularies of English encoders know none
of them and they carry much of the feeling of a message. Letters repeated for emphasis are shortened,
placeholders such as ``[NAME]`` become words, addresses of pages become ``link``. Case and punctuation stay:
they carry feeling too, and encoders that ignore case ignore it by themselves.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

QUERY_PREFIX: Final = "query: "
MAX_CHARACTERS: Final = 2000
"""Longer texts are cut here before anything else; sentence encoders read at most some hundred words."""

_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_QUOTES = str.maketrans({"’": "'", "‘": "'", "`": "'", "“": '"', "”": '"', "«": '"', "»": '"', "…": "..."})
_SKIN_TONES = range(0x1F3FB, 0x1F400)
_KNOWN_SYMBOLS: Final = {
    "❤": "red heart",
    "♥": "red heart",
    "💔": "broken heart",
    "😂": "laughing with tears of joy",
    "🤣": "rolling on the floor laughing",
    "😭": "crying loudly",
    "😢": "crying",
    "😡": "very angry face",
    "😠": "angry face",
    "🤬": "swearing angry face",
    "😤": "huffing with frustration",
    "🙄": "rolling eyes",
    "😱": "screaming in fear",
    "🤢": "nauseated disgusted face",
    "🤮": "vomiting disgusted face",
    "🙏": "thank you",
    "👍": "thumbs up",
    "👎": "thumbs down",
}
_URL = re.compile(r"(?:https?://|www\.)\S+", re.IGNORECASE)
_PLACEHOLDER = re.compile(r"\[(name|religion)\]", re.IGNORECASE)
_LONG_RUN = re.compile(r"([^\W\d_])\1{2,}", re.IGNORECASE)
_LONG_MARKS = re.compile(r"([!?.,;:*~-])\1{3,}")
_SPACE = re.compile(r"\s+")


def _symbol_words(character: str) -> str:
    """Words for one symbol, or nothing for marks that only modify the one before."""
    if character in _KNOWN_SYMBOLS:
        return _KNOWN_SYMBOLS[character]
    if ord(character) in _SKIN_TONES:
        return ""
    name = unicodedata.name(character, "").lower().replace("-", " ")
    return name.removesuffix(" sign").removesuffix(" symbol")


def _spell_symbols(text: str) -> str:
    parts: list[str] = []
    previous = ""
    for character in text:
        if character.isascii():
            parts.append(character)
            previous = ""
            continue
        category = unicodedata.category(character)
        if category in {"Cf", "Cs", "Co", "Cn", "Cc"} or 0xFE00 <= ord(character) <= 0xFE0F:
            continue
        is_symbol = category == "So" or (category == "Sk" and ord(character) > 0xFFFF)
        if not is_symbol:
            parts.append(character)
            previous = ""
        elif character != previous:
            parts.append(f" {_symbol_words(character)} ")
            previous = character
    return "".join(parts)


def normalise(text: str) -> str:
    """Return ``text`` as every route sees it: one line, at most :data:`MAX_CHARACTERS` characters.

    Idempotent.

    Accepts any string, lone surrogates and control characters included; never raises.
    """
    cut = text[:MAX_CHARACTERS].translate(_QUOTES)
    spelled = _spell_symbols(unicodedata.normalize("NFKC", _spell_symbols(cut)))
    spelled = "".join(" " if unicodedata.category(c) == "Cc" else c for c in spelled).translate(_QUOTES)
    spelled = _URL.sub("link", spelled)
    spelled = _PLACEHOLDER.sub(lambda match: match.group(1).lower(), spelled)
    spelled = _LONG_RUN.sub(lambda match: match.group(0)[:2], spelled)
    spelled = _LONG_MARKS.sub(lambda match: match.group(1) * 3, spelled)
    return _SPACE.sub(" ", spelled).strip()[:MAX_CHARACTERS].strip()


def encoder_input(text: str) -> str:
    """Return the string that an encoder reads for ``text``: normalised, with the prefix of the E5 family."""
    return QUERY_PREFIX + normalise(text)


def has_surrogate(text: str) -> bool:
    """Tell whether a text holds half of a surrogate pair, which no file, database or answer can store."""
    return _SURROGATE.search(text) is not None
