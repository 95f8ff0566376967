"""`python -m devcluster`: clusters from a shell or a Makefile. Exit codes are those of errors.py; 0 is success."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence

from devcluster import controlplane, prometheus, tools
from devcluster.controlplane import ControlPlane
from devcluster.errors import DevClusterError
from devcluster.paths import cache_dir
from devcluster.progress import say
from devcluster.statefile import all_states


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code. Errors are one sentence on standard error."""
    arguments = _parser().parse_args(argv)
    try:
        code: int = arguments.run(arguments)
    except DevClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("error: interrupted; what had been started was ended", file=sys.stderr)
        return 130
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
    down.add_argument("--name", help="only the control plane of this name (default: all)")
    down.set_defaults(run=_down)

    status = commands.add_parser("status", help="list what runs")
    status.set_defaults(run=_status)

    tool = commands.add_parser("tool", help="print the path of a program, building or installing it first")
    tool.add_argument("name", choices=sorted(_TOOLS))
    tool.set_defaults(run=_tool)

    clean = commands.add_parser(
        "clean-cache", help="remove everything that was built and kept for the next time"
    )
    clean.set_defaults(run=_clean_cache)
    return parser


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
    return 0


def _tool(arguments: argparse.Namespace) -> int:
    print(_TOOLS[arguments.name]())
    return 0


def _clean_cache(_: argparse.Namespace) -> int:
    shutil.rmtree(cache_dir(), ignore_errors=True)
    say(f"removed {cache_dir()}")
    return 0
