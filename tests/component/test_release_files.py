"""What `make dist` writes: complete, reproducible, and enough to install from."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

import modelrollout
from release import __main__ as release
from release import charts, oci, plugin
from release.plan import Plan, ReleaseError, difference, sha256
from tests.support.charts import RenderError, helm, pod_specs

ROOT = Path(__file__).resolve().parents[2]
VERSION = modelrollout.__version__
DIGEST = "sha256:" + "4" * 64
MEGABYTE = 1_000_000
Json = dict[str, Any]


def plan(out: Path, **more: Any) -> Plan:
    return Plan(**{"out": out, "epoch": 1_764_000_000, "digests": {}} | more)


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All files but the images."""
    out = tmp_path_factory.mktemp("release") / "dist"
    release.make(plan(out), with_images=False)
    return out


def test_everything_is_there_and_its_checksum_right(dist: Path) -> None:
    sums = dict(reversed(line.split("  ")) for line in (dist / release.SUMS).read_text().splitlines())
    assert sums == {path.name: sha256(path) for path in dist.iterdir() if path.name != release.SUMS}
    assert set(sums) == {
        f"modelrollout-{VERSION}-py3-none-any.whl",
        f"inference_server-{VERSION}-py3-none-any.whl",
        f"modelrollout-{VERSION}.tgz",
        f"inference-server-{VERSION}.tgz",
        f"kubectl-modelrollout-{VERSION}.tar.gz",
        "kubectl-modelrollout",
        "modelrollout.krew.yaml",
        "requirements-plugin.txt",
        "requirements-operator.txt",
        "requirements-inference-server.txt",
        f"modelrollout-plugin-{VERSION}.cdx.json",
        f"modelrollout-operator-{VERSION}.cdx.json",
        f"inference-server-{VERSION}.cdx.json",
    }


def test_the_same_commit_gives_the_same_files(dist: Path, tmp_path: Path) -> None:
    """Made by another process, elsewhere, under another umask."""
    again = tmp_path / "elsewhere"
    command = f"umask 077; exec {sys.executable} -m release --without-images --out {again}"
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1764000000", "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run(["bash", "-c", command], cwd=ROOT, env=environment, check=True, timeout=120)
    assert (again / release.SUMS).read_text() == (dist / release.SUMS).read_text()


def test_a_working_tree_that_differs_from_its_commit_is_named(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        who = ("-c", "user.name=Test", "-c", "user.email=test@example.com")
        subprocess.run(["git", *who, *arguments], cwd=tmp_path, check=True, capture_output=True)

    git("init")
    (tmp_path / "values.yaml").write_text("1")
    git("add", ".")
    git("commit", "-m", "One file")
    assert difference(tmp_path) is None
    (tmp_path / "values.yaml").write_text("2")
    for number in range(6):
        (tmp_path / f"new{number}").touch()
    told = difference(tmp_path)
    assert told is not None
    assert "values.yaml, new0" in told
    assert "and 2 more" in told
    assert "new5" not in told


def test_make_dist_says_that_the_working_tree_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(release, "difference", lambda: "the working tree differs from its commit in x")
    assert release.main(["--without-images", "--out", str(tmp_path / "dist")]) == 0
    assert "make dist: the working tree differs from its commit in x" in capsys.readouterr().err


def test_a_directory_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letters.txt").write_text("mine")
    with pytest.raises(ReleaseError, match="name another directory"):
        release.make(plan(tmp_path), with_images=False)
    assert (tmp_path / "letters.txt").exists()


@pytest.mark.parametrize(("chart", "image"), charts.CHARTS.items())
def test_a_chart_installs_what_it_was_told(dist: Path, tmp_path: Path, chart: str, image: str) -> None:
    archive = f"{chart}-{VERSION}.tgz"
    about = yaml.safe_load(helm("show", "chart", str(dist / archive)))
    assert {"version": VERSION, "appVersion": VERSION}.items() <= about.items()
    assert {"description", "kubeVersion", "keywords", "type"} <= set(about)
    with pytest.raises(RenderError, match=r"image\.repository is required"):
        helm("template", "demo", str(dist / archive))
    named = plan(tmp_path, repository="registry.example:5000/team", digests={image: DIGEST})
    charts.write(named)
    objects = [item for item in yaml.safe_load_all(helm("template", "demo", str(tmp_path / archive))) if item]
    used = {container["image"] for _, spec in pod_specs(objects) for container in spec["containers"]}
    assert used == {f"registry.example:5000/team/{image}@{DIGEST}"}


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"repository": "registry.example/team/"}, "IMAGE_REPOSITORY"),
        ({"digests": {"operator": DIGEST}}, "without IMAGE_REPOSITORY"),
        ({"repository": "registry.example", "digests": {"operator": "latest"}}, "sha256:<64 hex digits>"),
    ],
)
def test_names_that_cannot_be_are_refused(tmp_path: Path, wrong: Json, told: str) -> None:
    with pytest.raises(ReleaseError, match=told):
        plan(tmp_path, **wrong)


def test_wheels_carry_the_license_and_need_little(dist: Path) -> None:
    for wheel in dist.glob("*.whl"):
        with zipfile.ZipFile(wheel) as content:
            assert any(name.endswith("/licenses/LICENSE") for name in content.namelist()), wheel.name
            (metadata,) = (name for name in content.namelist() if name.endswith("/METADATA"))
            assert f"Version: {VERSION}" in content.read(metadata).decode()


def test_sboms_list_what_the_locks_pin(dist: Path) -> None:
    for part, lock in (("modelrollout-plugin", "plugin"), ("modelrollout-operator", "operator")):
        listed = json.loads((dist / f"{part}-{VERSION}.cdx.json").read_text())
        assert (listed["bomFormat"], listed["metadata"]["component"]["version"]) == ("CycloneDX", VERSION)
        pinned = re.findall(r"^(\S+)==(\S+)", (dist / f"requirements-{lock}.txt").read_text(), re.MULTILINE)
        assert {(one["name"], one["version"]) for one in listed["components"]} == set(pinned)


def test_the_krew_manifest_fits_its_archive(dist: Path) -> None:
    manifest = yaml.safe_load((dist / "modelrollout.krew.yaml").read_text())
    archive = dist / f"kubectl-modelrollout-{VERSION}.tar.gz"
    assert manifest["spec"]["version"] == f"v{VERSION}"
    for platform in manifest["spec"]["platforms"]:
        assert platform["sha256"] == sha256(archive)
        assert platform["uri"].startswith(plugin.UNKNOWN_PLACE), "no address may be invented"
        with tarfile.open(archive) as content:
            assert {entry["from"] for entry in platform["files"]} == set(content.getnames())
            assert content.getmember(platform["bin"]).mode == 0o755


def test_the_plugin_in_one_file_installs_itself_once_and_is_small(dist: Path, tmp_path: Path) -> None:
    """From nothing but the file, Python and a package index; the second run needs no index."""
    environment = {**os.environ, "MODELROLLOUT_PLUGIN_HOME": str(tmp_path / "home"), "KUBECONFIG": ""}
    environment.pop("PYTHONPATH", None)
    program = dist / "kubectl-modelrollout"
    first, second = (
        subprocess.run(
            [sys.executable, program, *arguments],
            env=environment | extra,
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )
        for arguments, extra in (
            (["--version"], {}),
            (["lint", str(ROOT / "samples/emotion-full.yaml")], {"PIP_NO_INDEX": "1"}),
        )
    )
    assert (first.returncode, first.stdout) == (0, f"kubectl-modelrollout, version {VERSION}\n"), first.stderr
    assert "first run" in first.stderr
    assert (second.returncode, second.stderr) == (0, ""), second.stdout
    (made,) = (tmp_path / "home").iterdir()
    used = subprocess.run(["du", "-sb", made], capture_output=True, text=True, check=True).stdout.split()[0]
    assert int(used) <= 40 * MEGABYTE, f"{int(used) / MEGABYTE:.1f} MB"
    assert not list(made.glob("lib/python*/site-packages/kubernetes"))


def saved(path: Path, *layers: bytes) -> Json:
    """What Docker 20 writes for an image of these layers; its configuration."""
    diffs = [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers]
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diffs}}
    names = [f"{number}/layer.tar" for number in range(len(layers))]
    files = dict(zip(names, layers, strict=True))
    files["config.json"] = json.dumps(config).encode()
    listed = [{"Config": "config.json", "Layers": names, "RepoTags": ["x:1"]}]
    files["manifest.json"] = json.dumps(listed).encode()
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return config


def test_an_oci_archive_holds_what_docker_saved(tmp_path: Path) -> None:
    config = saved(tmp_path / "saved.tar", b"one", b"two", b"one")
    digest = oci.convert(tmp_path / "saved.tar", tmp_path / "oci.tar", "registry.example/x", "1")
    with tarfile.open(tmp_path / "oci.tar") as archive:
        files = {name: archive.extractfile(name).read() for name in archive.getnames()}  # type: ignore[union-attr]
    for name, content in files.items():
        if name.startswith("blobs/"):
            assert name == f"blobs/sha256/{hashlib.sha256(content).hexdigest()}"
    assert json.loads(files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    (described,) = json.loads(files["index.json"])["manifests"]
    assert described["digest"] == digest
    assert described["annotations"]["io.containerd.image.name"] == "registry.example/x:1"
    manifest = json.loads(files[f"blobs/sha256/{digest.removeprefix('sha256:')}"])
    assert len(manifest["layers"]) == 3
    assert json.loads(files[f"blobs/sha256/{manifest['config']['digest'].split(':')[1]}"]) == config


def test_a_layer_that_is_not_the_one_it_should_be_is_refused(tmp_path: Path) -> None:
    saved(tmp_path / "saved.tar", b"one")
    spoilt = (tmp_path / "saved.tar").read_bytes().replace(b"one", b"two", 1)
    (tmp_path / "saved.tar").write_bytes(spoilt)
    with pytest.raises(ReleaseError, match="build it again"):
        oci.convert(tmp_path / "saved.tar", tmp_path / "oci.tar", "registry.example/x", "1")


@pytest.mark.parametrize("dockerfile", ["operator/Dockerfile", "inference-image/Dockerfile"])
def test_dockerfiles_name_no_architecture(dockerfile: str) -> None:
    text = (ROOT / dockerfile).read_text()
    assert not re.search(r"amd64|arm64|x86_64|aarch64|--platform", text)
