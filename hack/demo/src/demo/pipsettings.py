"""How this machine's pip reaches its package index, for builds in containers.

Nothing of it stays in an image.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from demo.errors import CommandError
from demo.process import run

_SETTINGS = ("index-url", "extra-index-url", "trusted-host", "proxy", "default-timeout", "retries")
_BUNDLE_VARIABLES = ("PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "CURL_CA_BUNDLE")
_LOCAL_AUTHORITIES = Path("/usr/local/share/ca-certificates")
_SYSTEM_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")


def files() -> dict[str, bytes]:
    """`pip.conf` and, if the machine has own certificates, `ca.crt`; empty on an ordinary machine."""
    settings = effective(_pip_config())
    found: dict[str, bytes] = {}
    lines = [f"{name} = {value}" for name, value in settings.items() if name in _SETTINGS]
    if lines:
        found["pip.conf"] = ("[global]\n" + "\n".join(lines) + "\n").encode()
    if bundle := _bundle(settings.get("cert")):
        found["ca.crt"] = bundle.read_bytes()
    return found


def proxy_variables() -> list[str]:
    """Return names of the proxy variables that are set; Docker keeps their values out of images by itself."""
    return [name for name in _PROXIES if os.environ.get(name)]


def effective(listing: str) -> dict[str, str]:
    """Return the settings in what `pip config list` prints.

    The environment wins, then what is for all commands.
    """
    settings: dict[str, str] = {}
    for prefix in ("global", "install", ":env:"):
        for name, value in re.findall(rf"^{re.escape(prefix)}\.([\w-]+)='(.*)'$", listing, re.MULTILINE):
            settings[name.replace("_", "-")] = value.replace("\\n", "\n    ")
    return settings


def _pip_config() -> str:
    try:
        return run([sys.executable, "-m", "pip", "config", "list"], timeout=60)
    except CommandError:
        return ""  # an interpreter without pip has no settings of pip either


def _bundle(configured: str | None) -> Path | None:
    candidates = [configured, *(os.environ.get(name) for name in _BUNDLE_VARIABLES)]
    for candidate in candidates:
        if candidate and Path(candidate).is_file():
            return Path(candidate)
    if _SYSTEM_BUNDLE.is_file() and _LOCAL_AUTHORITIES.is_dir() and any(_LOCAL_AUTHORITIES.rglob("*.crt")):
        return _SYSTEM_BUNDLE
    return None
