"""What an image is built from, and how the machine's pip settings get into a build and not into the image."""

from __future__ import annotations

from pathlib import Path

import pytest

from demo import images, pipsettings
from demo.images import ROOT


def test_the_context_is_what_the_dockerfile_copies() -> None:
    text = "FROM a AS b\nCOPY x/y.txt .build-pi[p] \\\n  z /to/\nCOPY --from=b /q /q\n"
    text += "COPY --chown=1:1 w /to\nRUN COPY\n"
    assert images.copied(text) == ["x/y.txt", "z", "w"]


def test_every_dockerfile_copies_files_that_exist() -> None:
    for image in images.ALL:
        dockerfile = ROOT / image.dockerfile
        assert dockerfile.is_file(), image
        for pattern in images.copied(dockerfile.read_text()):
            assert any(ROOT.glob(pattern)), (image.name, pattern)


def test_the_tag_follows_content_and_base(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_text("one")
    first = images.content_tag({"f": file}, "sha256:a")
    assert images.content_tag({"f": file}, "sha256:a") == first
    assert images.content_tag({"f": file}, "sha256:b") != first
    file.chmod(0o755)
    assert images.content_tag({"f": file}, "sha256:a") != first
    file.chmod(0o644)
    file.write_text("two")
    assert images.content_tag({"f": file}, "sha256:a") != first


def test_pips_settings_are_read_as_pip_prints_them() -> None:
    listing = ":env:.index-url='https://index.example.org/env'\nglobal.cert='/c.pem'\nglobal.index-url='https://no'\n"
    assert pipsettings.effective(listing) == {"index-url": "https://index.example.org/env", "cert": "/c.pem"}


def test_a_machine_without_settings_of_its_own_adds_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pipsettings, "_pip_config", lambda: "")
    monkeypatch.setattr(pipsettings, "_LOCAL_AUTHORITIES", tmp_path)
    assert pipsettings.files() == {}


def test_a_bundle_of_certificates_goes_along(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.pem"
    bundle.write_text("certificates")
    monkeypatch.setattr(pipsettings, "_pip_config", lambda: f"global.cert='{bundle}'\nglobal.timeout='3'\n")
    assert pipsettings.files() == {"ca.crt": b"certificates"}


def test_every_public_base_is_the_default_of_a_build_argument() -> None:
    named = {name for image in images.ALL for name in image.bases()}
    assert named == images.PUBLIC_BASES.keys()
    for image in images.ALL:
        text = (ROOT / image.dockerfile).read_text()
        for name in image.bases():
            assert f"ARG {name}={images.PUBLIC_BASES[name]}\n" in text
        assert "--platform" not in text
