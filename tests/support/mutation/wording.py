"""Whether a mutant changes no more than the words of a sentence."""

from __future__ import annotations

import re
from typing import Final

TEXT: Final = re.compile(r'"(?:[^"\\]|\\.)*"' + r"|'(?:[^'\\]|\\.)*'")


def only_wording(gone: str, come: str) -> bool:
    """Whether two lines differ only inside of texts with a space in them."""
    before, after = TEXT.findall(gone), TEXT.findall(come)
    if TEXT.sub("", gone) != TEXT.sub("", come) or len(before) != len(after):
        return False
    return all(" " in old for old, new in zip(before, after, strict=True) if old != new)
