"""Scenario 60: installed from the files of `make dist` alone, by the commands of docs/install.md.

The cluster is the one of the other tests without what they installed: no operator, no CRD, no image of it.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

import modelrollout
from demo import manifests
from release import __main__ as release
from tests.support.cluster_tool import (  # noqa: F401 - fixtures
    CommandError,
    KindCluster,
    docker,
    kind_cluster,
    project_images,
    tools,
)
from tests.support.pages import DOCS, blocks

pytestmark = pytest.mark.timeout(900)

VERSION = modelrollout.__version__
REPOSITORY = "localhost/modelrollout"
NAMESPACES = {"operator": manifests.OPERATOR_NAMESPACE, "inference-server": "models"}
RELEASES = {"operator": "modelrollout", "inference-server": "emotion"}
CRD = "modelrollouts.modelrollout.dev"
# Limits for a machine of two cores that starts pods meanwhile.
VALUES = """
rollout:
  candidate: v1-1
  spec:
    evaluation: {interval: 1s}
    steps:
    - {weight: 50, duration: 5s}
    - {weight: 100}
    criteria:
    - {name: dimension-mismatch, preset: dimensionMismatch, max: 0}
    - {name: errors, preset: errorRate, max: 1%, for: 3s, window: 15s, minSamples: 5}
    - {name: latency-p95, preset: latencyP95, max: 2s, for: 20s, window: 15s, minSamples: 5}
"""
ROLL_OUT = f"""
image=$(kubectl -n models get deployment emotion-v1-0 -o jsonpath='{{..containers[0].image}}')
kubectl -n models create deployment load --image="$image" -- \\
  inference-server loadgen --url=http://emotion --rate=20
helm upgrade emotion inference-server-{VERSION}.tgz --namespace models \\
  --reset-then-reuse-values --values rollout.yaml
PATH=$PWD/plugin/bin:$PATH
kubectl modelrollout -n models status emotion --watch --timeout 240s
kubectl modelrollout -n models status emotion
"""


@pytest.fixture(scope="module")
def dist(project_images: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    """What `make dist` writes, outside of the checkout; the images were built before."""
    out = tmp_path_factory.mktemp("release") / "dist"
    assert release.main(["--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def cluster(kind_cluster: KindCluster, project_images: dict[str, str]) -> Iterator[KindCluster]:  # noqa: F811
    """A cluster with Prometheus where the page expects it, and with nothing of the product."""
    _remove(kind_cluster, wait=True)
    _remove_images(kind_cluster, *(project_images[name] for name in NAMESPACES))
    kind_cluster.apply(
        manifests.namespace(manifests.MONITORING_NAMESPACE),
        *manifests.prometheus(project_images["prometheus"]),
    )
    service = kind_cluster.get("service", "prometheus", "-n", manifests.MONITORING_NAMESPACE)
    kind_cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "prometheus-operated", "namespace": manifests.MONITORING_NAMESPACE},
            "spec": {key: service["spec"][key] for key in ("selector", "ports")},
        }
    )
    yield kind_cluster
    _remove(kind_cluster, wait=False)


def _remove_images(cluster: KindCluster, *references: str) -> None:
    """Remove images from the nodes, so that none but those of the archives can run."""
    for node in cluster.nodes():
        for reference in references:
            cluster.docker.run("exec", node, "crictl", "rmi", cluster.docker.image_id(reference))


def _remove(cluster: KindCluster, *, wait: bool) -> None:
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
        cluster.kubectl(
            "delete", "pods", "--all", "--grace-period=1", "-n", manifests.OPERATOR_NAMESPACE, timeout=60
        )
    for kind, names in (("namespace", NAMESPACES.values()), ("crd", (CRD,))):
        options = ("--ignore-not-found", f"--wait={json.dumps(wait)}")
        cluster.kubectl("delete", kind, *names, *options, timeout=180)


@pytest.fixture
def environment(cluster: KindCluster, tmp_path: Path) -> dict[str, str]:
    """A reader's shell: kubectl, helm, kind, docker and Python, and nothing of this checkout."""
    programs = {
        "helm": tools.helm(),
        "kubectl": tools.kubectl(),
        "kind": tools.kind(),
        "docker": docker.client(),
        "python3": Path(sys.base_prefix) / "bin" / "python3",
    }
    for name, program in programs.items():
        (tmp_path / name).symlink_to(program)
    kept = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    return {
        **kept,
        **cluster.env,
        **cluster.docker.env,
        "KIND_CLUSTER_NAME": cluster.name,
        "KIND_EXPERIMENTAL_PROVIDER": "docker",
        "PATH": f"{tmp_path}{os.pathsep}/usr/bin{os.pathsep}/bin",
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


def test_scenario_60_installed_from_dist_alone_a_rollout_succeeds(
    cluster: KindCluster, dist: Path, environment: dict[str, str]
) -> None:
    page = [block for block in blocks(DOCS / "install.md") if block.mark("run") is not None]
    said = shell("\n".join(block.text for block in page), dist, environment)
    assert f"modelrollout-{VERSION}.tgz: OK" in said
    assert f"version {VERSION}" in said
    (dist / "rollout.yaml").write_text(VALUES)
    said = shell(ROLL_OUT, dist, environment).rpartition("+ kubectl modelrollout")[2]
    assert "models/emotion  Succeeded" in said, said
    rollout = cluster.get("mro", "emotion", "-n", "models")["status"]
    assert (rollout["phase"], rollout["stable"]) == ("Succeeded", "emotion-v1-1")
    for image, namespace in NAMESPACES.items():
        manifest, config = archived(dist, image)
        assert running(cluster, namespace) == {(f"{REPOSITORY}/{image}@{manifest}", config)}
