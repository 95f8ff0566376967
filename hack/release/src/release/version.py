"""The version, copied from the operator's package to every file that has to name it.

python -m release.version [DIRECTORY]     (default: the repository)
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[4]
SOURCE: Final = Path("operator/src/modelrollout/__init__.py")
_NUMBER: Final = r"\d+\.\d+\.\d+"
_DECLARED: Final = re.compile(rf'^(__version__ = )"({_NUMBER})"$', re.MULTILINE)
_IMAGE: Final = re.compile(rf"((?:\boperator|\binference-server):)({_NUMBER})\b")
_FILE: Final = re.compile(rf"(\b(?:modelrollout|inference-server|inference_server|operator)-)({_NUMBER})\b")
_VARIABLE: Final = re.compile(rf"(\bexport VERSION=)({_NUMBER})\b")
COPIES: Final = {
    "inference-image/src/inference_server/__init__.py": (_DECLARED,),
    "charts/*/Chart.yaml": (re.compile(rf"^((?:version|appVersion): )({_NUMBER})", re.MULTILINE),),
    "charts/kustomize/kustomization.yaml": (re.compile(rf"^(\s*newTag: )({_NUMBER})", re.MULTILINE),),
    "samples/*.yaml": (_IMAGE,),
    "README.md": (_IMAGE, _FILE),
    "docs/*.md": (_IMAGE, _FILE, _VARIABLE),
    "docs/howto/*.md": (_IMAGE, _FILE),
}
"""Files that name the version, and where: the second group of each pattern."""


def current(root: Path = ROOT) -> str:
    """Return the version that the operator's package declares; ValueError if it declares none."""
    found = _DECLARED.search((root / SOURCE).read_text())
    if found is None:
        raise ValueError(f'expected a line __version__ = "X.Y.Z" in {SOURCE}, found none: add it')
    return found[2]


def copy(root: Path = ROOT) -> list[Path]:
    """Write the version into every file that names it; those that changed, relative to `root`.

    Raises:
        ValueError: There is no file for an entry of the list.
    """
    version, changed = current(root), []
    for glob, patterns in COPIES.items():
        found = sorted(root.glob(glob))
        if not found:
            raise ValueError(f"expected files {glob}, found none: correct the list in hack/release")
        for path in found:
            old = new = path.read_text()
            for pattern in patterns:
                new = pattern.sub(lambda match: match[0].replace(match[2], version), new)
            if new != old:
                path.write_text(new)
                changed.append(path.relative_to(root))
    return changed


if __name__ == "__main__":
    copy(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT)
