"""The parts that need no cluster: names, ports, settings read from the machine, what a context holds."""

from __future__ import annotations

import base64
import socket
import ssl
import struct
import tomllib
from pathlib import Path

import pytest
import yaml

from devcluster import apt, capabilities, kindconfig, ports, tools, verify
from devcluster.cleanup import mounts_below, scratch
from devcluster.cluster import Cluster, checked_name
from devcluster.errors import PrerequisiteError, ResourceError, UsageError
from devcluster.paths import repository_root, require_free


@pytest.mark.parametrize("name", ["", "Upper", "-a", "a-", "a/b", "../a", "a" * 41, "a b"])
def test_a_name_that_cannot_be_a_directory_and_a_container_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="a cluster's name is"):
        checked_name(name)


def test_ports_given_out_are_free_and_differ(own_state: Path) -> None:
    first, second = ports.free_ports(20), ports.free_ports(20)
    assert len({*first, *second}) == 40
    assert all(ports.is_free(port) for port in first)


def test_a_taken_port_is_said_with_what_to_do() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(
            ResourceError, match=rf"port {port} on 127\.0\.0\.1, which is taken .*choose another"
        ):
            ports.require_free(port, "the API server")


def test_a_full_disk_names_the_directory_and_the_cure(tmp_path: Path) -> None:
    with pytest.raises(
        ResourceError, match=r"a test needs 1073741824\.0 GiB free below .*MODELROLLOUT_CACHE"
    ):
        require_free(tmp_path / "not" / "there", 1 << 60, "a test")


def test_missing_capabilities_are_read_from_the_bounding_set() -> None:
    everything = (1 << 41) - 1
    assert capabilities.missing(f"CapBnd:\t{everything:016x}\n") == []
    without = everything & ~(1 << 24) & ~(1 << 39)
    assert capabilities.missing(f"CapEff:\t0\nCapBnd:\t{without:016x}\n") == ["CAP_SYS_RESOURCE", "CAP_BPF"]


def test_the_control_group_version_is_detected(tmp_path: Path) -> None:
    assert capabilities.cgroup_version(tmp_path) == 1
    (tmp_path / "cgroup.controllers").touch()
    assert capabilities.cgroup_version(tmp_path) == 2


def test_the_kubelet_is_told_about_control_groups_only_where_needed() -> None:
    settings = kindconfig.load_config(repository_root() / "kind-config.yaml")
    old, new = (kindconfig.adapted(settings, cgroups=version) for version in (1, 2))
    assert any("failCgroupV1: false" in patch for patch in old["kubeadmConfigPatches"])
    assert not any("failCgroupV1" in patch for patch in new["kubeadmConfigPatches"])


def test_the_runtime_keeps_to_what_root_may_do_and_only_where_needed() -> None:
    settings = {"kind": "Cluster", "containerdConfigPatches": ["mine"]}
    bound = kindconfig.adapted(settings, cgroups=2, missing=["CAP_SYS_RESOURCE"])
    assert bound["containerdConfigPatches"][0] == "mine"
    added = tomllib.loads(bound["containerdConfigPatches"][1])
    assert added["plugins"]["io.containerd.grpc.v1.cri"] == {"restrict_oom_score_adj": True}
    assert kindconfig.adapted(settings, cgroups=2, missing=[]) == settings | {"kubeadmConfigPatches": []}


@pytest.mark.parametrize("nodes", ["nodes: 3", "nodes: [worker]"])
def test_nodes_that_are_no_list_of_nodes_are_refused(tmp_path: Path, nodes: str) -> None:
    (tmp_path / "kind.yaml").write_text(f"kind: Cluster\n{nodes}\n")
    with pytest.raises(UsageError, match="expected a list of nodes"):
        kindconfig.load_config(tmp_path / "kind.yaml")


@pytest.mark.parametrize("content", ["- a list", "kind: Deployment", "{unclosed", None])
def test_a_file_that_is_no_kind_configuration_is_refused(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "kind.yaml"
    if content is not None:
        file.write_text(content)
    with pytest.raises(UsageError, match="expected kind's configuration"):
        kindconfig.load_config(file)


def test_the_network_avoids_every_route() -> None:
    assert (
        kindconfig.free_subnet("default via 192.0.2.1 dev eth0\n192.0.2.0/24 dev eth0\n") == "172.31.0.0/24"
    )
    taken = "default via 172.31.0.1 dev eth0\n172.31.0.0/16 dev eth0 src 172.31.5.5\n172.30.0.0/24 dev br-1\n"
    assert kindconfig.free_subnet(taken) == "172.30.1.0/24"
    with pytest.raises(UsageError, match="is routed on this machine"):
        kindconfig.free_subnet("172.16.0.0/12 dev eth0")


def _dns_answer(code: int = 0, address: bytes | None = bytes([10, 146, 0, 1])) -> bytes:
    question = verify.dns_query("kubernetes.default.svc.cluster.local")[14:]
    record = b"" if address is None else b"\xc0\x0c" + struct.pack(">2HIH", 1, 1, 5, 4) + address
    message = struct.pack(">6H", 0x4D52, 0x8180 | code, 1, int(bool(record)), 0, 0) + question + record
    return struct.pack(">H", len(message)) + message


def test_a_dns_answer_gives_the_address() -> None:
    assert verify.dns_address(_dns_answer()) == "10.146.0.1"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"", "got nothing"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "expected an answer to our DNS question"),
        (_dns_answer(code=3, address=None), "code 3 and 0 records"),
        (_dns_answer(address=None), "code 0 and 0 records"),
    ],
)
def test_anything_else_proves_nothing(answer: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        verify.dns_address(answer)


def test_mounts_are_listed_innermost_first() -> None:
    found = mounts_below(Path("/proc"), Path("/sys"))
    assert Path("/proc") in found
    depths = [len(path.parts) for path in found]
    assert depths == sorted(depths, reverse=True)
    assert mounts_below(Path("/pro")) == []


def test_without_root_a_missing_package_is_one_command_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("devcluster.apt.os.geteuid", lambda: 65534)
    with pytest.raises(PrerequisiteError, match=r"install it by `sudo apt-get install .* no-such-package`"):
        apt.ensure_program("no-such-program", "no-such-package")


def test_a_package_that_does_not_exist_is_said_with_what_apt_said() -> None:
    with pytest.raises(
        PrerequisiteError, match=r"the program no-such-program is missing and `apt-get install"
    ):
        apt.ensure_program("no-such-program", "no-such-package-of-debian")


def test_a_program_may_be_in_a_package_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    installed: list[str] = []
    monkeypatch.setattr(apt, "install", lambda packages, _: installed.extend(packages))
    monkeypatch.setattr(apt, "_which", lambda _: tmp_path / "docker" if "docker-cli" in installed else None)
    assert apt.ensure_program("docker", "docker.io", "docker-cli", "third") == tmp_path / "docker"
    assert installed == ["docker.io", "docker-cli"]


def test_packages_that_lack_the_program_say_how_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apt, "install", lambda *_: None)
    with pytest.raises(PrerequisiteError, match=r"a and b are installed and brought no program no-such"):
        apt.ensure_program("no-such-program", "a", "b")


def test_services_are_kept_from_starting_only_while_packages_are_installed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    policy = tmp_path / "policy-rc.d"
    monkeypatch.setattr(apt._NoServiceStart, "_policy", policy)
    killed = apt._NoServiceStart()
    killed.__enter__()  # and then its process is killed
    with apt._NoServiceStart():
        assert policy.read_text().endswith("exit 101\n")
    assert not policy.exists(), "one that a killed run left is removed by the next"
    policy.write_text("somebody's own")
    with apt._NoServiceStart():
        pass
    assert policy.read_text() == "somebody's own"


def test_what_a_killed_build_left_goes_with_the_next(tmp_path: Path) -> None:
    for left in (".kube.abc", ".kube-proxy.abc"):
        (tmp_path / left / "half").mkdir(parents=True)
    with scratch(tmp_path, "kube") as directory:
        assert {path.name for path in tmp_path.iterdir()} == {".kube-proxy.abc", directory.name}
    assert [path.name for path in tmp_path.iterdir()] == [".kube-proxy.abc"]


def test_a_directory_of_programs_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBEBUILDER_ASSETS", "/nonexistent")
    with pytest.raises(UsageError, match="there is no /nonexistent; correct it, or unset it"):
        tools.kubectl()


def test_a_kubeconfig_may_name_files(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_bytes(b"authority")
    config = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://x", "certificate-authority": "ca.crt"}}],
        "users": [{"name": "u", "user": {"client-certificate-data": base64.b64encode(b"pair").decode()}}],
    }
    (tmp_path / "config").write_text(yaml.safe_dump(config))
    with pytest.raises(ssl.SSLError):  # it got as far as reading "authority" as a certificate
        Cluster(name="x", kubeconfig=tmp_path / "config").ssl_context()
    config["users"] = [{"name": "u", "user": {"token": "t"}}]
    (tmp_path / "config").write_text(yaml.safe_dump(config))
    with pytest.raises(UsageError, match="has no client certificate; use kubectl"):
        Cluster(name="x", kubeconfig=tmp_path / "config").ssl_context()
