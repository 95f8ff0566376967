"""What may be said of settings that hold credentials: names, kinds and places, never a value.

A value that is in the wrong place may be a secret whatever its key is called, so nothing is decided by a list
of suspicious names.
"""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import urlsplit

import yaml

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z_.-]{0,39}(-?[0-9]{1,3})?")
_QUOTED: Final = re.compile(r"'[^']{2,}'|\"[^\"]{2,}\"")


def plain_name(name: object) -> str:
    """Return the name of a setting in quotes; of one that does not look like a name only that it does not."""
    text = str(name)
    return repr(text) if _NAME.fullmatch(text) else f"(a name of {len(text)} characters)"


def kind_of(value: object) -> str:
    """Return what a value of YAML is, in words: `a text of 24 characters`, `a list of 2`, `nothing`."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return f"a text of {len(value)} characters"
        case dict():
            return f"a mapping of {len(value)}"
        case list() | tuple():
            return f"a list of {len(value)}"
        case _:
            return f"a {type(value).__name__}"


def kind_of_address(url: str) -> str:
    """Return what is wrong with an address that cannot be used, without the address.

    It may hold credentials.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return "an address whose host or port cannot be read"
    if parts.scheme not in ("http", "https"):
        return f"{kind_of(url)} that does not begin with http:// or https://"
    return "an address without a host"


def kind_of_yaml_error(error: yaml.YAMLError) -> str:
    """Return why something is no YAML and where, without the line itself."""
    mark = getattr(error, "problem_mark", None)
    place = f" in line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
    problem = _QUOTED.sub("'…'", str(getattr(error, "problem", None) or "not valid YAML"))
    return f"{problem}{place}"


def kind_of_entries(loaded: Any) -> str:
    """Return what a file is that should map names to entries with a url.

    Which entry is wrong, without its content.
    """
    if not isinstance(loaded, dict):
        return kind_of(loaded)
    for place, entry in enumerate(loaded.values(), 1):
        where = f"entry {place} of {len(loaded)}"
        if not isinstance(entry, dict):
            return f"{kind_of(entry)} as {where}"
        if not entry.get("url"):
            return f"no url in {where}"
    return kind_of(loaded)
