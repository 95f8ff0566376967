"""The charts as tests see them: rendered by helm, with the combinations of values worth rendering."""

from __future__ import annotations

import itertools
import json
import random
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.support.cluster_tool import tools

ROOT = Path(__file__).resolve().parents[2]
CHARTS = ROOT / "charts"
OPERATOR = CHARTS / "modelrollout"
SERVER = CHARTS / "inference-server"

IMAGE = {"image": {"repository": "registry.example/image"}}
"""What every installation has to give."""

Json = dict[str, Any]
Values = Mapping[str, Any]


class RenderError(AssertionError):
    """helm refused; the message is its own."""


def helm(*arguments: str, timeout: float = 120, env: Mapping[str, str] | None = None, stdin: str = "") -> str:
    """Run helm and return its standard output; RenderError with its standard error if it fails."""
    done = subprocess.run(
        [str(tools.helm()), *arguments],
        capture_output=True,
        check=False,
        text=True,
        timeout=timeout,
        env=None if env is None else dict(env),
        input=stdin,
    )
    if done.returncode:
        raise RenderError(done.stderr.strip() or done.stdout.strip())
    return done.stdout


def render(
    chart: Path, values: Values | None = None, *, release: str = "demo", namespace: str = "sys"
) -> list[Json]:
    """The objects that a chart makes of `values`."""
    text = helm(
        "template",
        release,
        str(chart),
        "--namespace",
        namespace,
        "--values",
        "-",
        stdin=json.dumps(merged(IMAGE, values or {})),
    )
    return [document for document in yaml.safe_load_all(text) if document]


def of_kind(objects: Sequence[Json], kind: str) -> list[Json]:
    """The objects of one kind."""
    return [item for item in objects if item["kind"] == kind]


def only(objects: Sequence[Json], kind: str) -> Json:
    """The one object of a kind."""
    (found,) = of_kind(objects, kind)
    return found


def pod_specs(objects: Sequence[Json]) -> Iterator[tuple[str, Json]]:
    """Every pod's spec with a name to speak of it by."""
    for item in objects:
        name = f"{item['kind']}/{item['metadata']['name']}"
        if item["kind"] == "Pod":
            yield name, item["spec"]
        elif item["kind"] in {"Deployment", "Job"}:
            yield name, item["spec"]["template"]["spec"]


def combinations(choices: Sequence[Sequence[Values]], *, strength: int = 3, seed: int = 7) -> list[Json]:
    """Values in which every `strength` choices occur together in every way, in few combinations.

    Each element of `choices` lists the alternatives of one setting, each as a nested mapping. Greedy: of a
    number of random candidates the one that covers most of what is still missing is taken.
    """
    rng = random.Random(seed)
    settings = range(len(choices))
    missing = {
        tuple(zip(chosen, picks, strict=True))
        for chosen in itertools.combinations(settings, strength)
        for picks in itertools.product(*(range(len(choices[index])) for index in chosen))
    }
    rows: list[tuple[int, ...]] = []
    while missing:
        seed_tuple = next(iter(sorted(missing)))
        best: tuple[int, ...] = ()
        best_covers: set[tuple[tuple[int, int], ...]] = set()
        for _ in range(30):
            row = [rng.randrange(len(choices[index])) for index in settings]
            for index, pick in seed_tuple:
                row[index] = pick
            covers = {
                tuple((i, row[i]) for i in chosen) for chosen in itertools.combinations(settings, strength)
            } & missing
            if len(covers) > len(best_covers) or not best:
                best, best_covers = tuple(row), covers
        rows.append(best)
        missing -= best_covers
    return [merged(*(choices[index][pick] for index, pick in enumerate(row))) for row in rows]


def merged(*parts: Values) -> Json:
    """Nested mappings laid over each other, the last on top."""
    result: Json = {}
    for part in parts:
        for key, value in part.items():
            there = result.get(key)
            result[key] = (
                merged(there, value) if isinstance(there, Mapping) and isinstance(value, Mapping) else value
            )
    return result


def restricted_violations(spec: Json) -> Iterator[str]:
    """What the `restricted` pod security standard would refuse in a pod's spec."""
    pod = spec.get("securityContext") or {}
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(field):
            yield field
    for volume in spec.get("volumes") or []:
        kinds = set(volume) - {"name"}
        if not kinds <= {
            "configMap",
            "secret",
            "emptyDir",
            "projected",
            "downwardAPI",
            "csi",
            "persistentVolumeClaim",
        }:
            yield f"volume {volume}"
    for container in [*spec["containers"], *spec.get("initContainers", [])]:
        own = container.get("securityContext") or {}
        if own.get("allowPrivilegeEscalation") is not False:
            yield f"{container['name']}: allowPrivilegeEscalation"
        if (own.get("capabilities") or {}).get("drop") != ["ALL"]:
            yield f"{container['name']}: capabilities"
        if not own.get("runAsNonRoot", pod.get("runAsNonRoot")):
            yield f"{container['name']}: runAsNonRoot"
        if own.get("runAsUser", pod.get("runAsUser")) == 0:
            yield f"{container['name']}: runAsUser 0"
        if (own.get("seccompProfile") or pod.get("seccompProfile") or {}).get("type") != "RuntimeDefault":
            yield f"{container['name']}: seccompProfile"
        if any("hostPort" in port for port in container.get("ports", [])):
            yield f"{container['name']}: hostPort"
