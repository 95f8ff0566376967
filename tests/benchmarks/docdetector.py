"""The documentation detector beside interrogate, docstr-coverage, ruff and rustdoc, in one run.

Each tool is a process of its own over the same files; its CPU seconds (user and system) and its peak memory
come from the kernel, so that other work on the machine changes them little.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from inference_server.predictors.docdetector import rustdoc
from tests.benchmarks.tables import ROOT, Figure

RULES = "D100,D101,D102,D103,D104,D105,D106,D107"
CRATES = {
    "tokio": "1.54.1",
    "serde": "1.0.229",
    "syn": "2.0.119",
    "regex-syntax": "0.8.12",
    "bytes": "1.12.2",
}
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT / "inference-image" / "src"), "PYTHONWARNINGS": "ignore"}
PYTHON = sys.executable
DETECTOR = [PYTHON, "-m", "inference_server", "detect"]


LAUNCHER = """
import json, resource, subprocess, sys
quiet = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
subprocess.run(sys.argv[1:], **quiet)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / 1e6]))
"""
"""Starts the command from a small process: Linux counts the memory of the parent into a command's peak."""


def measured(command: list[str]) -> tuple[float, float]:
    """CPU seconds and peak memory (MB) of a command; what it prints is dropped."""
    launched = [PYTHON, "-S", "-c", LAUNCHER, *command]
    done = subprocess.run(launched, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    seconds, peak = json.loads(done.stdout)
    return seconds, peak


def compared(what: str, commands: dict[str, list[str]], size: int, runs: int = 3) -> list[Figure]:
    """Speed and memory of each command, one after the other in each run."""
    speeds: dict[str, list[float]] = {name: [] for name in commands}
    memory: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(runs):
        for name, command in commands.items():
            seconds, peak = measured(command)
            speeds[name].append(size / seconds / 1e6)
            memory[name].append(peak)
    return [
        *(Figure(f"{what}: {name}", "MB/s a core", tuple(values)) for name, values in speeds.items()),
        *(Figure(f"{what}: {name}, peak memory", "MB", tuple(values)) for name, values in memory.items()),
    ]


def python_figures() -> list[Figure]:
    """The standard library without its files that interrogate and docstr-coverage cannot read."""
    with tempfile.TemporaryDirectory() as directory:
        corpus = Path(directory) / "library"
        shutil.copytree(
            sysconfig.get_path("stdlib"),
            corpus,
            ignore=shutil.ignore_patterns("site-packages", "__pycache__", "*.so", "lib2to3", "venv"),
        )
        size = 0
        for path in corpus.rglob("*.py"):
            try:
                source = path.read_text("utf-8")
                compile(source, str(path), "exec", dont_inherit=True)
                size += path.stat().st_size
            except (SyntaxError, ValueError):
                path.unlink()
        commands = {
            "the detector": [*DETECTOR, str(corpus)],
            "the detector, mode ruff": [*DETECTOR, str(corpus), "--mode", "ruff"],
            "interrogate": [PYTHON, "-m", "interrogate", "-q", "--fail-under", "0", str(corpus)],
            "docstr-coverage": [str(Path(PYTHON).with_name("docstr-coverage")), "-v", "0", str(corpus)],
            "ruff": [
                *(PYTHON, "-m", "ruff", "check", "--isolated", "--no-cache", "--quiet", "--exit-zero"),
                *("--select", RULES, "--output-format", "json", str(corpus)),
            ],
        }
        return compared(f"Python, {size / 1e6:.1f} MB", commands, size)


def crate_sources(directory: Path) -> dict[str, Path]:
    """Copies of the published crates, each a workspace of its own."""
    needs = "\n".join(f'{name} = "={version}"' for name, version in CRATES.items())
    package = '[package]\nname = "corpus"\nversion = "0.1.0"\nedition = "2021"\n[lib]\npath = "lib.rs"\n'
    (directory / "Cargo.toml").write_text(f"{package}[dependencies]\n{needs}\n")
    (directory / "lib.rs").touch()
    listed = subprocess.run(
        ["cargo", "metadata", "--format-version", "1"],
        cwd=directory,
        capture_output=True,
        text=True,
        check=True,
    )
    found = {}
    for one in json.loads(listed.stdout)["packages"]:
        if CRATES.get(one["name"]) == one["version"]:
            found[one["name"]] = directory / one["name"]
            shutil.copytree(Path(one["manifest_path"]).parent, found[one["name"]])
            with (found[one["name"]] / "Cargo.toml").open("a") as manifest:
                manifest.write("\n[workspace]\n")
    return found


def rust_figures() -> list[Figure]:
    """Speed on the crates, and the totals of mode rustdoc beside rustdoc's own."""
    with tempfile.TemporaryDirectory() as directory:
        crates = crate_sources(Path(directory))
        size = sum(path.stat().st_size for root in crates.values() for path in root.rglob("*.rs"))
        commands = {"the detector": [*DETECTOR, *map(str, crates.values())]}
        figures = compared(f"Rust, {size / 1e6:.1f} MB", commands, size)
        for name, root in crates.items():
            ours = rustdoc.count([root])
            theirs = rustdoc_totals(root, Path(directory) / "target")
            totals = (sum(one.documented for one in ours.values()), sum(one.total for one in ours.values()))
            for what, mine, its in zip(("documented", "total"), totals, theirs, strict=True):
                figures.append(
                    Figure(f"{name} {CRATES[name]}: {what}, mode rustdoc", "items", (float(mine),))
                )
                figures.append(Figure(f"{name} {CRATES[name]}: {what}, rustdoc", "items", (float(its),)))
        return figures


def rustdoc_totals(root: Path, target: Path) -> tuple[int, int]:
    """What ``rustdoc --show-coverage`` counts: documented, total."""
    done = subprocess.run(
        [
            *("cargo", "rustdoc", "--quiet", "--"),
            *("-Z", "unstable-options", "--show-coverage", "--output-format", "json"),
        ],
        cwd=root,
        env=os.environ | {"RUSTC_BOOTSTRAP": "1", "CARGO_TARGET_DIR": str(target)},
        capture_output=True,
        text=True,
        check=True,
    )
    files = json.loads(done.stdout).values()
    return sum(one["with_docs"] for one in files), sum(one["total"] for one in files)
