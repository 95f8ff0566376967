"""Command line of the demo."""

from __future__ import annotations

import argparse
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table
from rich.text import Text

from demo import images, manifests, preflight, proof, scenario
from demo.cluster import Backend
from demo.console import Narrator
from demo.endpoints import EndpointRecorder
from demo.errors import CommandError, DemoError, MachineError
from demo.lab import Lab, Options
from demo.play import Player
from demo.proof import Finding

FAILED = 1
INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo, or remove it. Returns 0 only if everything was proved."""
    arguments = _parser().parse_args(argv)
    narrator = Narrator()
    try:
        if arguments.down:
            return _down(arguments.cluster, narrator)
        backend = preflight.backend(
            arguments.kind_config, tuple(arguments.build_option), build_cluster=arguments.build_cluster
        )
        if arguments.build_only:
            return _build_only(backend, arguments.cluster, narrator)
        options = Options(
            cluster=arguments.cluster,
            replicas=arguments.replicas,
            rate=arguments.rate,
            images=dict(arguments.image),
        )
        return _run(options, narrator, backend)
    except DemoError as error:
        _explain(narrator, error)
        return FAILED
    except MachineError as error:
        for problem in error.problems:
            narrator.say(problem, "red")
        return error.exit_code
    except CommandError as error:
        narrator.say(str(error), "red")
        return FAILED
    except KeyboardInterrupt:
        narrator.say(
            "Interrupted. `make demo` goes on from here, `make demo-down` removes everything.", "yellow"
        )
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument(
        "--down", action="store_true", help="remove everything that the demo made (caches stay)"
    )
    parser.add_argument(
        "--build-only",
        action="store_true",
        help="build the images, copy them into the cluster if it runs, and print their names",
    )
    parser.add_argument("--cluster", default="demo", help="name of its kind cluster (default: demo)")
    parser.add_argument(
        "--replicas", type=_replicas, default=10, help="pods of the model, 4 to 50 (default: 10)"
    )
    parser.add_argument("--rate", type=_rate, default=20.0, help="requests a second, 5 to 200 (default: 20)")
    parser.add_argument(
        "--image",
        action="append",
        default=[],
        type=_image,
        metavar="NAME=REFERENCE",
        help="use this image of the Docker daemon for operator, inference-server or prometheus, build none",
    )
    parser.add_argument(
        "--build-cluster",
        action="store_true",
        help="build the cluster's programs even where kind is installed (on Debian, as root, with Go)",
    )
    with_kind = parser.add_argument_group("where Docker and kind are installed")
    with_kind.add_argument(
        "--kind-config", type=Path, metavar="FILE", help="kind's configuration (default: kind-config.yaml)"
    )
    with_kind.add_argument(
        "--build-option",
        action="append",
        default=[],
        metavar="OPTION",
        help="one more option for `docker build`, such as --build-option=--network=host",
    )
    return parser


def _image(text: str) -> tuple[str, str]:
    name, _, reference = text.partition("=")
    if name not in {image.name for image in images.ALL} or ":" not in reference:
        raise argparse.ArgumentTypeError(f"expected NAME=REPOSITORY:TAG, seen {text}")
    return name, reference


def _replicas(text: str) -> int:
    number = int(text)
    if not 4 <= number <= 50:
        raise argparse.ArgumentTypeError(f"expected 4 to 50, seen {text}")
    return number


def _rate(text: str) -> float:
    number = float(text)
    if not 5 <= number <= 200:
        raise argparse.ArgumentTypeError(f"expected 5 to 200, seen {text}")
    return number


def _down(cluster: str, narrator: Narrator) -> int:
    backend = preflight.backend_of(cluster)
    if backend is None:
        narrator.say("There was nothing to remove.")
        return 0
    with narrator.step(f"Removing the kind cluster {cluster}"):
        backend.delete(cluster)
    narrator.say("Nothing is left but images and caches (`make clean-cache`).")
    return 0


def _build_only(backend: Backend, cluster: str, narrator: Narrator) -> int:
    with backend.docker() as docker, narrator.step("Images: operator, inference server, Prometheus"):
        built = images.build(docker, images.ALL, backend.bases(docker))
        if running := backend.attach(cluster):
            running.load_images(*built.values())
    for reference in built.values():
        narrator.console.print(reference)
    return 0


def _run(options: Options, narrator: Narrator, backend: Backend) -> int:
    narrator.title("The stage")
    lab = Lab.build(options, narrator, backend)
    player = Player(lab, narrator)
    with EndpointRecorder(lab.api, namespace=manifests.DEMO_NAMESPACE, service=scenario.ROLLOUT) as endpoints:
        played = [player.play(act) for act in scenario.ACTS]
        found = proof.findings(lab, played, endpoints)
    _summary(narrator, found)
    _play_on(narrator, lab)
    if all(finding.proved for finding in found):
        return 0
    narrator.say("Not everything was proved: see the lines marked ✗.", "bold red")
    return FAILED


def _summary(narrator: Narrator, found: Sequence[Finding]) -> None:
    narrator.title("What was proved")
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(style="bold")
    table.add_column()
    for finding in found:
        mark = Text("✓", style="green") if finding.proved else Text("✗", style="bold red")
        table.add_row(mark, finding.claim, finding.figure)
    narrator.show(table)


def _play_on(narrator: Narrator, lab: Lab) -> None:
    narrator.title("Play on")
    kubectl = _kubectl(lab)
    back = '{"spec":{"candidate":{"deployment":"emotion-v1-0"}}}'
    lines: tuple[tuple[str, str], ...] = (
        (f"export KUBECONFIG={lab.cluster.kubeconfig}", ""),
        (f"{kubectl} -n demo get mro -w", "watch"),
        (f"{kubectl} -n demo describe mro emotion", "conditions, history, events"),
        (
            f"{kubectl} -n demo patch mro emotion --type=merge -p '{back}'",
            "back to 1.0: at once, it was stable before",
        ),
        ("make demo-down", "remove everything"),
    )
    if "exec" not in kubectl:  # what a kubectl in the node forwards is not on this machine
        forward = f"{kubectl} -n monitoring port-forward service/prometheus 9090"
        lines = (*lines[:-1], (forward, "then http://localhost:9090"), lines[-1])
    for command, meaning in lines:
        text = Text(f"  {command}", style="cyan", no_wrap=True, overflow="ignore")
        narrator.console.print(text.append(f"   # {meaning}" if meaning else "", style="dim"), soft_wrap=True)


def _kubectl(lab: Lab) -> str:
    """kubectl as a person types it: the one in PATH, else the one that the demo used."""
    return "kubectl" if shutil.which("kubectl") else shlex.join(lab.cluster.kubectl_command)


def _explain(narrator: Narrator, error: DemoError) -> None:
    narrator.title("The demo failed")
    narrator.say(f"expected: {error.expected}", "bold red")
    narrator.say(f"seen:     {error.seen}", "bold red")
    if error.details:
        narrator.console.print(Text(error.details), soft_wrap=True)
    narrator.say(
        "The cluster is left as it is. `make demo` tries again, `make demo-down` removes everything."
    )
