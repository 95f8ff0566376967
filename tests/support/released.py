"""What a reader of docs/install.md has: a shell beside the files of `make dist`; and what then runs."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tarfile
from contextlib import suppress
from pathlib import Path

import modelrollout
from demo import manifests
from tests.support.cluster_tool import CommandError, KindCluster, docker, tools

VERSION = modelrollout.__version__
REPOSITORY = "localhost/modelrollout"
NAMESPACES = {"operator": manifests.OPERATOR_NAMESPACE, "inference-server": "models"}
RELEASES = {"operator": "modelrollout", "inference-server": "emotion"}
CRD = "modelrollouts.modelrollout.dev"


def environment(cluster: KindCluster, directory: Path) -> dict[str, str]:
    """A reader's shell: kubectl, helm, kind, docker and Python, and nothing of this checkout."""
    programs = {
        "helm": tools.helm(),
        "kubectl": tools.kubectl(),
        "kind": tools.kind(),
        "docker": docker.client(),
        "python3": Path(sys.base_prefix) / "bin" / "python3",
    }
    for name, program in programs.items():
        (directory / name).symlink_to(program)
    kept = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    return {
        **kept,
        **cluster.env,
        **cluster.docker.env,
        "KIND_CLUSTER_NAME": cluster.name,
        "KIND_EXPERIMENTAL_PROVIDER": "docker",
        "PATH": f"{directory}{os.pathsep}/usr/bin{os.pathsep}/bin",
    }


def shell(script: str, dist: Path, environment: dict[str, str]) -> str:
    """What a script says that runs in the directory of the files."""
    done = subprocess.run(
        ["bash", "-euxo", "pipefail", "-c", script],
        cwd=dist,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:]
    return done.stdout


def remove(cluster: KindCluster, *, wait: bool) -> None:
    """Remove the product; nothing here is worth a graceful end."""
    free = '--patch={"metadata":{"finalizers":null}}'
    with suppress(CommandError):  # there is no such resource yet
        cluster.kubectl("delete", "mro", "--all", "--all-namespaces", "--wait=false")
        cluster.kubectl("patch", "mro", "emotion", "-n", "models", "--type=merge", free)
    for name, namespace in NAMESPACES.items():
        command = [tools.helm(), "uninstall", RELEASES[name], "--namespace", namespace, "--ignore-not-found"]
        subprocess.run(
            command, env={**os.environ, **cluster.env}, check=True, capture_output=True, timeout=60
        )
    if wait:
        for namespace in NAMESPACES.values():
            cluster.kubectl("delete", "pods", "--all", "--grace-period=1", "-n", namespace, timeout=60)
    for kind, names in (("namespace", NAMESPACES.values()), ("crd", (CRD,))):
        options = ("--ignore-not-found", f"--wait={json.dumps(wait)}")
        cluster.kubectl("delete", kind, *names, *options, timeout=180)


def remove_images(cluster: KindCluster, *references: str) -> None:
    """Remove images from the nodes, so that none but those of the archives can run."""
    for node in cluster.nodes():
        for reference in references:
            cluster.docker.run("exec", node, "crictl", "rmi", cluster.docker.image_id(reference))


def archived(dist: Path, image: str) -> tuple[str, str]:
    """The digests of the manifest and of the configuration in an image's archive, computed from its bytes.

    The configuration names every layer by the digest of its content.
    """
    (path,) = dist.glob(f"{image}-{VERSION}-*.oci.tar")
    with tarfile.open(path) as archive:
        (described,) = json.loads(_member(archive, "index.json"))["manifests"]
        manifest = _member(archive, f"blobs/sha256/{described['digest'].removeprefix('sha256:')}")
        named = json.loads(manifest)["config"]["digest"].removeprefix("sha256:")
        content = (manifest, _member(archive, f"blobs/sha256/{named}"))
    first, second = (f"sha256:{hashlib.sha256(blob).hexdigest()}" for blob in content)
    return first, second


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    assert file is not None, name
    return file.read()


def running(cluster: KindCluster, namespace: str) -> set[tuple[str, str]]:
    """(image that its pod names, digest of the configuration that its node runs) of every container.

    The status of a pod is no proof: a node may name an image there by any of the names that it ever had.
    """
    found: set[tuple[str, str]] = set()
    pods = cluster.get("pods", "-n", namespace)["items"]
    for pod in pods:
        listed = cluster.docker.run("exec", pod["spec"]["nodeName"], "crictl", "ps", "-a", "-o", "json")
        ids = {f"containerd://{one['id']}": one["imageId"] for one in json.loads(listed)["containers"]}
        asked = {one["name"]: one["image"] for one in pod["spec"]["containers"]}
        for state in pod["status"]["containerStatuses"]:
            found.add((asked[state["name"]], ids[state["containerID"]]))
    return found
