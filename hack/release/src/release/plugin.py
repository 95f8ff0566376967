"""The kubectl plugin as one file, and its krew manifest.

The plugin needs compiled packages (pydantic), one build of them for each platform and Python. So the file
holds the plugin's own wheel and the lock with the hashes of all others; its first run installs them with pip
into a virtual environment in the user's cache, and says so.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Final

import yaml

from release import wheels
from release.plan import ROOT, Plan, sha256, tar_gz

NAME: Final = "kubectl-modelrollout"
SHEBANG: Final = b"#!/usr/bin/env python3\n"
LAUNCHER: Final = Path(__file__).with_name("launcher.py")
SYSTEMS: Final = ("linux", "darwin")
UNKNOWN_PLACE: Final = "https://download.invalid"
"""For a manifest whose files have no address yet: `kubectl krew install --manifest --archive` reads none."""


def write(plan: Plan) -> list[Path]:
    """Write the file, the archive for krew, and the manifest."""
    single = plan.out / NAME
    single.write_bytes(SHEBANG + _zip(plan))
    single.chmod(0o755)
    archive = plan.out / f"{NAME}-{plan.version}.tar.gz"
    license_text = (ROOT / "LICENSE").read_bytes()
    tar_gz(archive, [(NAME, single.read_bytes(), 0o755), ("LICENSE", license_text, 0o644)], plan.epoch)
    manifest = plan.out / "modelrollout.krew.yaml"
    manifest.write_text(yaml.safe_dump(_manifest(plan, archive), sort_keys=False, width=100))
    return [single, archive, manifest]


def _zip(plan: Plan) -> bytes:
    wheel = wheels.plugin(plan)
    members = {
        "__main__.py": LAUNCHER.read_bytes(),
        "requirements.txt": (ROOT / wheels.LOCKS["requirements-plugin.txt"]).read_bytes(),
        wheel.name: wheel.read_bytes(),
    }
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in sorted(members.items()):
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)
    return raw.getvalue()


def _manifest(plan: Plan, archive: Path) -> dict[str, object]:
    one = {
        "uri": f"{(plan.url or UNKNOWN_PLACE).rstrip('/')}/{archive.name}",
        "sha256": sha256(archive),
        "bin": NAME,
        "files": [{"from": NAME, "to": "."}, {"from": "LICENSE", "to": "."}],
    }
    return {
        "apiVersion": "krew.googlecontainertools.github.com/v1alpha2",
        "kind": "Plugin",
        "metadata": {"name": "modelrollout"},
        "spec": {
            "version": f"v{plan.version}",
            "shortDescription": "Watch, steer and check model rollouts",
            "description": (
                "Shows ModelRollouts with their criteria against their limits, explains what they wait "
                "for, promotes, pauses and aborts them, checks and replays their manifests, writes reports."
            ),
            "caveats": (
                "Needs Python 3.11 or newer with its venv module. The first run installs the plugin's "
                "Python packages, each checked by hash, with pip into your cache directory."
            ),
            "platforms": [{"selector": {"matchLabels": {"os": system}}, **one} for system in SYSTEMS],
        },
    }
