"""Personal data out of texts: e-mail, telephone, IBAN, card, IP, names after titles.

French and English forms. What is replaced becomes a placeholder such as ``[EMAIL]``; the kinds are tried from
the most certain (a checksum, an ``@``) to the least (a name after a title), so that a card number is not
taken for a telephone number. It errs on the side of masking: a long number that could be a telephone number
is one.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final

LOGGED_CHARACTERS: Final = 50
"""How many characters of a masked text are stored."""
MAX_CHARACTERS: Final = 10_000
"""Only this many characters of a text are looked at; the rest is dropped, so that it cannot leak either."""

_LONGEST_REPLACED: Final = 40
"""Masking shrinks a text at most about this much, so more of it is not worth looking at before a cut."""

EMAIL: Final = "[EMAIL]"
IBAN: Final = "[IBAN]"
CARD: Final = "[CARD]"
IP: Final = "[IP]"
PHONE: Final = "[PHONE]"
NAME: Final = "[NAME]"
PLACEHOLDERS: Final = (EMAIL, IBAN, CARD, IP, PHONE, NAME)

# Quantifiers are bounded, so that no text makes a pattern slow.
_EMAIL = re.compile(r"[\w.+%'-]{1,64}@(?:[\w-]{1,63}\.){1,6}[^\W\d_]{2,24}")
# jane (at) example.com, jane at example dot com, jeanne arobase exemple point fr
_SPELLED_EMAIL = re.compile(
    r"[\w.+%'-]{1,64}(?:"
    r"\s?(?:\[(?:at|arobase)\]|\((?:at|arobase)\)|@)\s?(?:[\w-]{1,63}\s?(?:\.|[\[(]?(?:dot|point)[\])]?)\s?){1,6}"
    r"|\s(?:at|arobase)\s(?:[\w-]{1,63}\s(?:dot|point)\s){1,6}"
    r")[^\W\d_]{2,24}",
    re.IGNORECASE,
)
_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}\d{2}(?:[ \u00a0\u202f.-]?[A-Za-z0-9]){11,30}(?![A-Za-z0-9])")
_CARD = re.compile(r"(?<!\d)\d(?:[ \u00a0\u202f.-]?\d){12,40}(?!\d)")
_GROUP = re.compile(r"[A-Za-z0-9]+")
_IPV4 = re.compile(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?!\d|\.\d)")
_IPV6 = re.compile(r"(?<![\w:])[0-9A-Fa-f:]{2,39}(?:(?:\d{1,3}\.){3}\d{1,3})?(?:%\w{1,16})?(?![\w:])")
_GAP = r"[ \u00a0\u202f.\-/]{0,2}"
_PHONE = re.compile(
    r"(?<![\w.,])(?:"
    # +33 6 12 34 56 78, 0033 6..., +44 (0)20 7946 0018, +1 (415) 555-0132
    rf"(?:\+|00){_GAP}[1-9]\d{{0,2}}{_GAP}(?:\(0?\d{{0,4}}\))?(?:{_GAP}\d){{6,13}}"
    # 06 12 34 56 78, 06.12.34.56.78, 0612345678, 020 7946 0018, 07700 900123, (020) 7946 0018
    rf"|\(?0\d{{1,4}}\)?(?:{_GAP}\d){{6,10}}"
    # (415) 555-0132, 415-555-0132, 415.555.0132, 1-800-555-0199
    r"|(?:1[ .-])?(?:\(\d{3}\)[ ]?|\d{3}[ .-])\d{3}[ .-]\d{4}"
    r")(?!\w)"
)
_WORD = r"[A-ZÀ-ÖØ-ÞŒ][A-Za-zÀ-ÖØ-öø-ÿŒœ]{0,40}(?:['’-][A-ZÀ-ÖØ-Þa-zà-öø-ÿ][A-Za-zÀ-ÖØ-öø-ÿ]{0,40}){0,3}"
_PARTICLE = r"(?:d['’]|l['’]|(?:de|du|des|del|della|von|van|der|den|la|le|Le|La|De|bin|al|el)[ ])"
_INITIAL = r"(?:[A-ZÀ-Þ]\.[ ]?)"
_TITLE = (
    r"(?:M\.|MM\.|M|Mme|Mmes|Mlle|Mlles|Mr|Mrs|Ms|Miss|Mx|Dr|Dre|Pr|Prof|Me|Mgr|Sir|Lady|Lord|Rev"
    r"|Monsieur|Madame|Mademoiselle|Messieurs|Mesdames|Docteur|Docteure|Professeur|Professeure|Maître"
    r"|Mister|Doctor|Professor|Reverend|Captain|Capitaine)"
)
_NAME = re.compile(
    rf"(?<![\w])({_TITLE}|(?i:{_TITLE}))(\.?[ \u00a0\u202f]{{1,3}})"
    rf"((?:{_INITIAL}|{_PARTICLE}){{0,4}}{_WORD}(?:[ ](?:{_INITIAL}|{_PARTICLE}){{0,3}}{_WORD}){{0,3}})"
)
_NOT_A_NAME: Final = re.compile(
    r"A|An|And|Bonjour|Bonsoir|But|Des|Elle|Elles|Et|He|Hello|Hi|I|If|Il|Ils|It|J|Je|La|Le|Les|Mais|Merci|Nous"
    r"|On|Or|Ou|Please|She|Si|Thanks|The|They|Tu|Un|Une|Vous|We|You"
)


def mask(text: str) -> str:
    """Return ``text`` with personal data replaced. Never raises; masking twice changes nothing.

    At most :data:`MAX_CHARACTERS` characters of ``text`` are looked at and returned.
    """
    masked = text[:MAX_CHARACTERS]
    masked = _SPELLED_EMAIL.sub(EMAIL, _EMAIL.sub(EMAIL, masked))
    masked = _IBAN.sub(_mask_iban, masked)
    masked = _CARD.sub(lambda match: CARD if _holds_card(match[0]) else match[0], masked)
    masked = _IPV4.sub(lambda match: IP if _is_address(match[0]) else match[0], masked)
    masked = _IPV6.sub(lambda match: IP if _is_address(match[0]) else match[0], masked)
    masked = _PHONE.sub(lambda match: PHONE if _is_phone(match[0]) else match[0], masked)
    return _NAME.sub(_mask_name, masked)


def logged_text(text: str, *, limit: int = LOGGED_CHARACTERS) -> str:
    """Return what may be stored of ``text``: masked first, then cut to ``limit`` characters, on one line.

    Cutting first would leave halves of addresses that no pattern recognises. A placeholder that the cut would
    split is left out as a whole.
    """
    masked = " ".join(mask(text[: limit * _LONGEST_REPLACED]).split())
    if len(masked) <= limit:
        return masked
    cut = masked[:limit]
    start = cut.rfind("[")
    if start >= 0 and "]" not in cut[start:] and masked.startswith(PLACEHOLDERS, start):
        cut = cut[:start]
    return cut.rstrip()


def _mask_iban(match: re.Match[str]) -> str:
    """Replace the longest beginning that is an IBAN and ends with a group; a word may follow directly."""
    found = match[0]
    for end in sorted((group.end() for group in _GROUP.finditer(found)), reverse=True):
        if _is_iban(found[:end]):
            return IBAN + found[end:]
    return found


def _is_iban(candidate: str) -> bool:
    compact = re.sub(r"[^A-Za-z0-9]", "", candidate).upper()
    if not 15 <= len(compact) <= 34:
        return False
    digits = "".join(str(int(character, 36)) for character in compact[4:] + compact[:4])
    # A mistyped IBAN identifies somebody too: French ones are known by their shape alone.
    return int(digits) % 97 == 1 or re.fullmatch(r"FR\d{12}[A-Z0-9]{11}\d{2}", compact) is not None


def _holds_card(candidate: str) -> bool:
    """Tell whether neighbouring groups of digits form a card number; an expiry date may stand beside it."""
    groups = _GROUP.findall(candidate)
    for start in range(len(groups)):
        digits = ""
        for group in groups[start:]:
            digits += group
            if 13 <= len(digits) <= 19 and _passes_luhn(digits):
                return True
    return False


def _passes_luhn(digits: str) -> bool:
    total = 0
    for position, digit in enumerate(map(int, reversed(digits))):
        doubled = digit * 2 if position % 2 else digit
        total += doubled - 9 if doubled > 9 else doubled
    return total % 10 == 0 and total > 0


def _is_address(candidate: str) -> bool:
    if candidate.count(":") < 2 and candidate.count(".") < 3:
        return False
    try:
        ipaddress.ip_address(candidate.partition("%")[0])
    except ValueError:
        # 001.002.003.004 is refused by the parser and still an address to a reader.
        parts = candidate.split(".")
        return len(parts) == 4 and all(part.isdecimal() and int(part) <= 255 for part in parts)
    return candidate.strip(":") != ""


def _is_phone(candidate: str) -> bool:
    return 8 <= sum(character.isdecimal() for character in candidate) <= 16


def _mask_name(match: re.Match[str]) -> str:
    title, gap, name = match.groups()
    if _NOT_A_NAME.fullmatch(name.split()[0]):
        return match[0]
    return f"{title}{gap}{NAME}"
