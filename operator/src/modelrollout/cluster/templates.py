"""The identity of a version: a hash of its pod template, equal where a Deployment sees no new revision."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

IGNORED_LABEL: Final = "pod-template-hash"
"""The Deployment controller puts it on ReplicaSets and leaves it out when it compares templates."""
HASH_LENGTH: Final = 16
_SUFFIXES: Final = {
    "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"), "k": Decimal(10**3),
    "M": Decimal(10**6), "G": Decimal(10**9), "T": Decimal(10**12), "P": Decimal(10**15),
    "E": Decimal(10**18), "Ki": Decimal(2**10), "Mi": Decimal(2**20), "Gi": Decimal(2**30),
    "Ti": Decimal(2**40), "Pi": Decimal(2**50), "Ei": Decimal(2**60),
}  # fmt: skip


def template_hash(template: Mapping[str, Any]) -> str:
    """Sixteen hexadecimal digits that change when a Deployment with this spec.template makes a new revision.

    `template` is what the API server returns: its defaults are filled in, so that a manifest with and one
    without them have the same hash. The order of keys and the notation of quantities do not count.
    """
    meta = {key: value for key, value in (template.get("metadata") or {}).items() if value}
    labels = {key: value for key, value in (meta.get("labels") or {}).items() if key != IGNORED_LABEL}
    meta.pop("creationTimestamp", None)
    plain = _plain({"metadata": {**meta, "labels": labels}, "spec": template.get("spec") or {}})
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:HASH_LENGTH]


def _plain(value: Any, key: str = "") -> Any:
    """Return the value without nulls (the same as absent fields), with quantities as numbers."""
    if isinstance(value, Mapping):
        if key == "resources":
            return {name: _amounts(part) for name, part in value.items() if part is not None}
        return {name: _plain(part, name) for name, part in value.items() if part is not None}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    return value


def _amounts(part: Any) -> Any:
    if not isinstance(part, Mapping):
        return part  # claims
    return {name: _amount(str(quantity)) for name, quantity in part.items()}


def _amount(quantity: str) -> str:
    """Return a quantity in its base unit (`1Gi` and `1073741824` are one amount).

    Other text stays as it is.
    """
    digits = quantity.rstrip("numkMGTPEi")
    factor = _SUFFIXES.get(quantity[len(digits) :], Decimal(1))
    try:
        return str((Decimal(digits) * factor).normalize())
    except ArithmeticError:
        return quantity
