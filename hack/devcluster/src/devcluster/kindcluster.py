"""A kind cluster: real nodes, pods, Services and DNS, on the machine's Docker daemon or on a private one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from devcluster import cleanup, docker, nodeimage, processes, tools, verify
from devcluster.cluster import Cluster, checked_name
from devcluster.docker import Docker
from devcluster.errors import CommandError, NotReadyError, UnknownImageError, UsageError
from devcluster.kindconfig import adapted, default_name, free_subnet, load_config
from devcluster.locks import exclusive
from devcluster.paths import GIB, repository_root, require_free, state_dir
from devcluster.processes import run
from devcluster.progress import say, step
from devcluster.statefile import ClusterState, all_states

__all__ = ["KindCluster", "default_name", "kind_down", "logs", "names", "parent_dir"]

_LABEL = "io.x-k8s.kind.cluster"
_ROLE = "io.x-k8s.kind.role"
_CREATE_SECONDS = 300
_NETWORK = "kind"


def parent_dir() -> Path:
    """Return the directory that holds one directory for each kind cluster."""
    return state_dir() / "kind"


@dataclass(frozen=True, kw_only=True)
class KindCluster(Cluster):
    """A running kind cluster; leaving its `with` block removes it."""

    directory: Path
    docker: Docker = field(repr=False)

    @classmethod
    def up(cls, *, name: str | None = None, config: Path | None = None, rebuild: bool = False) -> Self:
        """Return the cluster of that name, started if it does not run and proved working.

        `config` is kind's configuration (default: the repository's kind-config.yaml), which also gives the
        name unless `name` does. `rebuild` builds the node image even where one can be pulled.
        """
        settings = load_config(config or repository_root() / "kind-config.yaml")
        chosen = checked_name(name or str(settings.get("name", "kind")))
        with exclusive(state_dir() / "locks" / f"kind-{chosen}.lock"):
            # A machine that is busy answers late, and what does not answer is removed.
            if (running := cls.attach(chosen, patience=60)) is not None:
                return running
            kind_down(chosen)  # what a crash or a reboot left
            require_free(state_dir(), 2 * GIB, "a kind cluster")
            try:
                with docker.in_use():
                    daemon = docker.obtain()
                    _refuse_a_strangers(chosen, daemon)
                    image = _node_image(daemon, settings, build=rebuild)
                    cluster = cls(
                        name=chosen,
                        kubeconfig=_directory(chosen) / "kubeconfig",
                        directory=_directory(chosen),
                        docker=daemon,
                    )
                    cluster._create(settings, image)
            except BaseException:
                kind_down(chosen)
                raise
        return cluster

    @classmethod
    def attach(cls, name: str, *, patience: float = 10) -> Self | None:
        """Return the cluster of that name if its API server answers within `patience` seconds, or None."""
        directory = _directory(checked_name(name))
        state = ClusterState.load(directory)
        if not state.facts.get("ready") or (daemon := _daemon_of(state)) is None:
            return None
        cluster = cls(name=name, kubeconfig=directory / "kubeconfig", directory=directory, docker=daemon)
        try:
            running = daemon.run("ps", "--format", "{{.Names}}", "--filter", f"label={_LABEL}={name}").split()
            if not set(running) >= set(state.facts["nodes"]):
                return None
            cluster.wait_for_api(timeout=patience)
        except (CommandError, NotReadyError, OSError):
            return None
        return cluster

    def nodes(self) -> list[str]:
        """Return the names of the node containers; a load balancer before several control planes is none."""
        balancers = self.docker.containers(label=f"{_ROLE}=external-load-balancer")
        return sorted({*self.docker.containers(label=f"{_LABEL}={self.name}")} - {*balancers})

    @property
    def node_image(self) -> str:
        """The image that its nodes were made from."""
        return str(ClusterState.load(self.directory).facts["image"])

    def load_images(self, *references: str) -> None:
        """Put images of the Docker daemon into every node; UnknownImageError if the daemon lacks one."""
        for reference in references:
            if not self.docker.has_image(reference):
                raise UnknownImageError(
                    f"the Docker daemon has no image {reference}; "
                    "build it by `docker build`, or check the name"
                )
        for node in self.nodes():
            held = self.docker.run("exec", node, "crictl", "images", "--no-trunc", "-o", "json")
            missing = [r for r in references if not _holds(held, r, self.docker.image_id(r))]
            if missing:
                with step(f"loading {', '.join(missing)} into {node}"):
                    self._import(node, missing)

    def down(self) -> None:
        """Remove the cluster and, if it was the last on a private daemon, the daemon."""
        kind_down(self.name)

    def __enter__(self) -> Self:
        """Nothing more to do: it was started."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove it."""
        self.down()

    def _create(self, settings: dict[str, Any], image: str) -> None:
        self.directory.mkdir(parents=True, mode=0o700)
        state = ClusterState(
            self.directory,
            facts={"network_was_there": _network_exists(self.docker), "private": self.docker.private},
        )
        if not self.docker.private:  # a private daemon remembers, and restores, by itself
            state.facts["machine"] = cleanup.remember_machine()
        state.save()
        if self.docker.private:
            _make_network(self.docker)
        file = self.directory / "kind.yaml"
        file.write_text(yaml.safe_dump(adapted(settings)))
        with step(f"creating the kind cluster {self.name}"):
            run(
                [
                    tools.kind(),
                    "create",
                    "cluster",
                    "--name",
                    self.name,
                    "--image",
                    image,
                    "--config",
                    file,
                    "--kubeconfig",
                    self.kubeconfig,
                    "--wait",
                    "180s",
                ],
                timeout=_CREATE_SECONDS,
                # Marked, so that it is found and ended if this process is killed.
                env={**_kind_env(self.docker), processes.MARKER: str(self.directory)},
            )
        with step("proving that Services and DNS answer"):
            verify.prove(self.docker, self, self.nodes())
        state.facts |= {"ready": True, "server": self.server, "nodes": self.nodes(), "image": image}
        state.save()

    def _import(self, node: str, references: list[str]) -> None:
        environment = {**os.environ, **self.docker.env}
        save = subprocess.Popen(
            [docker.client(), "save", *references],
            env=environment,
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
        )
        with save:
            done = subprocess.run(
                [
                    docker.client(),
                    "exec",
                    "-i",
                    node,
                    "ctr",
                    "-n",
                    "k8s.io",
                    "images",
                    "import",
                    "--digests",
                    "--snapshotter",
                    "overlayfs",
                    "-",
                ],
                env=environment,
                stdin=save.stdout,
                capture_output=True,
                timeout=600,
                check=False,
            )
        if done.returncode or save.returncode:
            raise CommandError(
                f"{node} did not take {', '.join(references)}: "
                f"{done.stderr.decode(errors='replace').strip()}",
                returncode=done.returncode or save.returncode,
            )


def kind_down(name: str) -> bool:
    """Remove the cluster of that name, whatever state it is in; whether there was anything.

    NotReadyError if it is on the machine's own Docker daemon and that one does not answer.
    """
    directory = _directory(checked_name(name))
    state = ClusterState.load(directory)
    found = directory.exists()
    processes.stop(processes.marked(directory))  # kind itself, where only its caller was killed
    daemon = _daemon_of(state)
    if daemon is None and state.facts.get("private") is False:
        raise NotReadyError(
            f"the kind cluster {name} is on the machine's own Docker daemon, which does not answer; "
            "start it (`systemctl start docker`), then run this again"
        )
    # Elsewhere than on the private daemon only what is recorded: somebody may use kind without this tool.
    if daemon is not None and (found or daemon.private):
        containers = daemon.containers(label=f"{_LABEL}={name}")
        if containers:
            found = True
            with step(f"removing the kind cluster {name}"):
                daemon.run("rm", "-f", "-v", *containers, timeout=120)
        # Only what the tool made itself: the network may serve clusters that somebody else started.
        if found and state.facts.get("network_was_there") is False:
            with suppress(CommandError):
                daemon.run("network", "rm", _NETWORK)
    docker.stop_idle()
    if directory.exists():
        cleanup.restore_machine(state.facts.get("machine", {}))
        state.destroy()
    return found


def _daemon_of(state: ClusterState) -> Docker | None:
    """Return the daemon on which a cluster was made, if it answers; for one not recorded, any that does."""
    match state.facts.get("private"):
        case True:
            return docker.private_if_running()
        case False:
            return docker.existing_daemon()
        case _:
            return docker.current()


def _refuse_a_strangers(name: str, daemon: Docker) -> None:
    if daemon.containers(label=f"{_LABEL}={name}"):
        raise UsageError(
            f"there is a kind cluster {name} that this tool did not start; remove it by "
            f"`kind delete cluster --name {name}`, or choose another name"
        )


def names() -> list[str]:
    """Return the clusters that the tool knows of."""
    return [state.name for state in all_states(parent_dir())]


def _directory(name: str) -> Path:
    return parent_dir() / name


def _node_image(daemon: Docker, settings: dict[str, Any], *, build: bool) -> str:
    """Return the image that the configuration names, or kind's published one, or one that is built."""
    given = {str(node["image"]) for node in settings.get("nodes") or [] if "image" in node}
    built = nodeimage.NodeImage()
    if len(given) > 1:
        raise UsageError(
            f"expected one image for all nodes in kind's configuration, it names {', '.join(sorted(given))}"
        )
    if given and not build:
        return given.pop()
    if build or daemon.has_image(built.reference):
        return built.ensure(daemon)
    published = nodeimage.published_reference()
    if daemon.has_image(published) or daemon.try_pull(published):
        return published
    say("no registry answers, so the node image comes from the Go modules")
    return built.ensure(daemon)


def _kind_env(daemon: Docker) -> dict[str, str]:
    """kind calls `docker` from PATH and must not find another provider."""
    directory = docker.client().parent
    return {
        **daemon.env,
        "KIND_EXPERIMENTAL_PROVIDER": "docker",
        "PATH": f"{directory}{os.pathsep}{os.environ.get('PATH', '')}",
    }


def _network_exists(daemon: Docker) -> bool:
    return _NETWORK in daemon.run("network", "ls", "--format", "{{.Name}}").split()


def _make_network(daemon: Docker) -> None:
    """kind's network under a bridge name that can be found again whatever happens, on a range nobody uses."""
    if _network_exists(daemon):
        return
    cleanup.delete_interface(docker.bridge_name())
    subnet = free_subnet(run(["ip", "-4", "route", "show", "table", "all"], timeout=30))
    daemon.run(
        "network",
        "create",
        "--driver=bridge",
        f"--subnet={subnet}",
        "-o",
        f"com.docker.network.bridge.name={docker.bridge_name()}",
        _NETWORK,
    )
    if cleanup.forwarding_is_dropped():
        state = ClusterState.load(docker.run_dir())
        state.facts["forwarded"] = [subnet]
        state.save()
        cleanup.allow_forwarding(subnet)


def _holds(listing: str, reference: str, image_id: str) -> bool:
    """Tell whether a node's list of images has this very image under this name."""
    names_of = {
        tag.removeprefix("docker.io/").removeprefix("library/"): image["id"]
        for image in json.loads(listing)["images"]
        for tag in image.get("repoTags") or []
    }
    return names_of.get(reference if ":" in reference else f"{reference}:latest") == image_id


def logs(name: str, target: Path) -> Path:
    """Write `kind export logs` of the cluster to a directory, replacing what it holds."""
    cluster = KindCluster.attach(name)
    if cluster is None:
        raise UsageError(
            f"there is no running kind cluster {name}; `python -m devcluster kind-up` starts one"
        )
    shutil.rmtree(target, ignore_errors=True)
    run([tools.kind(), "export", "logs", "--name", name, target], timeout=300, env=_kind_env(cluster.docker))
    return target
