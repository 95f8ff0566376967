"""`python -m devcluster`: clusters from a shell or a Makefile.

Exit codes are those of errors.py; 0 is success.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from devcluster import bench, cleanup, controlplane, docker, kindcluster, prometheus, tools
from devcluster.controlplane import ControlPlane
from devcluster.errors import DevClusterError, PrerequisiteError, UsageError
from devcluster.kindcluster import KindCluster
from devcluster.paths import cache_dir, state_dir
from devcluster.progress import say
from devcluster.statefile import all_states


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code. Errors are one sentence on standard error."""
    arguments = _parser().parse_args(argv)
    try:
        code: int = arguments.run(arguments)
    except DevClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("error: interrupted; what had been started was ended", file=sys.stderr)
        return 130
    except (OSError, subprocess.TimeoutExpired) as error:
        print(
            f"error: {error}; see whether the disk has room and the cache ({cache_dir()}) and the state "
            f"({state_dir()}) belong to you, then run this again",
            file=sys.stderr,
        )
        return 1
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m devcluster", description="Real Kubernetes clusters for tests and demos."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    up = commands.add_parser(
        "up", help="start a control plane that lasts until `down`, and print its KUBECONFIG line"
    )
    up.add_argument("--name", default="dev", help="its name (default: dev)")
    up.add_argument("--port", type=int, help="port of the API server (default: a free one)")
    up.add_argument("--kwok-nodes", type=int, default=3, help="fake nodes (default: 3)")
    up.set_defaults(run=_up)

    down = commands.add_parser(
        "down", help="end control planes and Prometheus servers and remove every trace of them"
    )
    down.add_argument("--name", help="only the control plane of this name (default: all that no test uses)")
    down.set_defaults(run=_down)

    status = commands.add_parser("status", help="list what runs")
    status.set_defaults(run=_status)

    _add_kind_commands(commands)

    tool = commands.add_parser("tool", help="print the path of a program, building or installing it first")
    tool.add_argument("name", choices=sorted(_TOOLS))
    tool.set_defaults(run=_tool)

    measure = commands.add_parser("bench", help="time clusters on this machine and print a table")
    measure.add_argument("--runs", type=int, default=5, help="how often, with everything cached (default: 5)")
    measure.add_argument(
        "--cold", action="store_true", help="also once with nothing cached, which takes long"
    )
    measure.add_argument("--no-kind", action="store_true", help="control planes only")
    measure.set_defaults(run=_bench)

    clean = commands.add_parser(
        "clean-cache", help="remove everything that was built and kept for the next time"
    )
    clean.set_defaults(run=_clean_cache)
    return parser


def _add_kind_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    default = "the name in kind-config.yaml"
    kind_up = commands.add_parser(
        "kind-up", help="start a kind cluster and prove that its Services and DNS work"
    )
    kind_up.add_argument("--name", help=f"its name (default: {default})")
    kind_up.add_argument("--config", type=Path, help="kind's configuration (default: kind-config.yaml)")
    kind_up.add_argument(
        "--build", action="store_true", help="build the node image even where one can be pulled"
    )
    kind_up.set_defaults(run=_kind_up)

    kind_down = commands.add_parser(
        "kind-down", help="remove kind clusters, and the private Docker daemon if there is one"
    )
    kind_down.add_argument("--name", help="only the cluster of this name (default: all)")
    kind_down.set_defaults(run=_kind_down)

    load = commands.add_parser(
        "load-image", help="put images of the Docker daemon into the kind cluster's nodes"
    )
    load.add_argument("references", nargs="+", metavar="IMAGE")
    load.add_argument("--name", help=f"the cluster (default: {default})")
    load.set_defaults(run=_load_image)

    logs = commands.add_parser(
        "kind-logs", help="write the logs of the kind cluster's nodes and pods to a directory"
    )
    logs.add_argument("directory", type=Path)
    logs.add_argument("--name", help=f"the cluster (default: {default})")
    logs.set_defaults(run=_kind_logs)


_TOOLS = {
    "kubectl": tools.kubectl,
    "helm": tools.helm,
    "kind": tools.kind,
    "kwok": tools.kwok,
    "prometheus": tools.prometheus,
    "promtool": tools.promtool,
}


def _up(arguments: argparse.Namespace) -> int:
    running = ControlPlane.attach(arguments.name)
    if running is None:
        running = ControlPlane.start(
            name=arguments.name,
            port=arguments.port,
            scheduler=True,
            kwok_nodes=arguments.kwok_nodes,
            lasting=True,
        )
        say(f"the control plane {running.name} serves at {running.server}")
    else:
        say(f"the control plane {running.name} was already serving at {running.server}")
    print(f"export KUBECONFIG={running.kubeconfig}")
    return 0


def _down(arguments: argparse.Namespace) -> int:
    states = all_states(controlplane.parent_dir())
    if arguments.name is None:
        states += all_states(prometheus.parent_dir())
        # What a process that lives has made for itself, it also removes.
        states = [state for state in states if state.owner is None or state.orphaned()]
    else:
        states = [state for state in states if state.name == arguments.name]
    for state in states:
        stopped = state.destroy(grace_seconds=0.3)
        say(f"removed {state.name} ({', '.join(stopped) or 'nothing of it was running'})")
    if not states:
        say("there was nothing to remove")
    return 0


def _status(_: argparse.Namespace) -> int:
    for parent, kind in (
        (controlplane.parent_dir(), "control plane"),
        (prometheus.parent_dir(), "Prometheus"),
    ):
        for state in all_states(parent):
            names = (
                ", ".join(sorted(record.name for record in state.running()))
                or "nothing runs; `down` removes it"
            )
            print(f"{kind} {state.name}: {state.facts.get('server', state.directory)} ({names})")
    for name in kindcluster.names():
        cluster = KindCluster.attach(name)
        told = (
            f"{cluster.server} (nodes {', '.join(cluster.nodes())})"
            if cluster
            else "does not run; `kind-down` removes it"
        )
        print(f"kind {name}: {told}")
    if docker.private_if_running():
        print(f"private Docker daemon: DOCKER_HOST=unix://{docker.run_dir()}/docker.sock")
    return 0


def _kind_up(arguments: argparse.Namespace) -> int:
    cluster = KindCluster.up(name=arguments.name, config=arguments.config, rebuild=arguments.build)
    say(f"the kind cluster {cluster.name} serves at {cluster.server}; Services and DNS answer")
    print(f"export KUBECONFIG={cluster.kubeconfig}")
    return 0


def _kind_down(arguments: argparse.Namespace) -> int:
    chosen = [arguments.name] if arguments.name else kindcluster.names()
    found = [name for name in chosen if kindcluster.kind_down(name)]
    say(f"removed {', '.join(found)}" if found else "there was no kind cluster to remove")
    if not kindcluster.names() and not arguments.name:
        docker.stop_idle()
    return 0


def _load_image(arguments: argparse.Namespace) -> int:
    name = arguments.name or kindcluster.default_name()
    cluster = KindCluster.attach(name)
    if cluster is None:
        raise _no_cluster(name)
    cluster.load_images(*arguments.references)
    return 0


def _kind_logs(arguments: argparse.Namespace) -> int:
    print(kindcluster.logs(arguments.name or kindcluster.default_name(), arguments.directory))
    return 0


def _no_cluster(name: str) -> UsageError:
    return UsageError(f"there is no running kind cluster {name}; `python -m devcluster kind-up` starts one")


def _tool(arguments: argparse.Namespace) -> int:
    print(_TOOLS[arguments.name]())
    return 0


def _bench(arguments: argparse.Namespace) -> int:
    if arguments.runs < 1:
        raise UsageError(f"the number of runs must be 1 or more, got {arguments.runs}")
    rows = bench.warm(arguments.runs, with_kind=not arguments.no_kind)
    if arguments.cold:
        rows += bench.cold(with_kind=not arguments.no_kind)
    print(bench.table(rows))
    return 0


def _clean_cache(_: argparse.Namespace) -> int:
    if docker.private_if_running():
        raise PrerequisiteError(
            "the private Docker daemon uses the cache; end it by `python -m devcluster kind-down` first"
        )
    docker.stop_private()  # where it was killed, its containers' file systems are still mounted in the cache
    cleanup.unmount_below(cache_dir())
    if cache_dir().exists():
        shutil.rmtree(cache_dir())
    say(f"removed {cache_dir()}")
    return 0
