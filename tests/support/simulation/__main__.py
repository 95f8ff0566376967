"""Run seeds, or replay one with its trace (`--seed 17`)."""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import sys
import time
from collections import Counter

from tests.support.simulation import clock

WALL = time.perf_counter


def reproducible(module: str) -> None:
    """Start this process again where the order of sets would differ from run to run."""
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", module, *sys.argv[1:]])


def prepare() -> None:
    """Make the clocks of this process virtual, then load the operator."""
    clock.install()
    from tests.support.simulation import operators

    operators.install()
    clock.replace_datetime()
    logging.disable(logging.CRITICAL)


Found = tuple[int, str, list[tuple[str, str]], str]
"""Seed, last phase, violations by name, and what broke the simulation itself."""


def run_one(seed: int) -> Found:
    """Run one seed in a worker."""
    from tests.support.simulation.runner import simulate

    outcome = simulate(seed)
    found = [(violation.name, str(violation)) for violation in outcome.violations]
    return seed, outcome.phase, found, outcome.error


def replay(seed: int, *, logs: bool) -> int:
    """Prints the trace of one seed; 1 if something was violated."""
    from tests.support.simulation.runner import simulate

    if logs:
        logging.disable(logging.NOTSET)
        logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    outcome = simulate(seed, keep_trace=True)
    sys.stdout.write("\n".join(outcome.trace) + "\n")
    for violation in outcome.violations:
        sys.stdout.write(f"VIOLATED at {violation}\n")
    if outcome.error:
        sys.stdout.write(f"ERROR {outcome.error}\n")
    return 1 if outcome.violations or outcome.error else 0


def sweep(seeds: list[int], *, jobs: int, without: frozenset[str]) -> int:
    """Runs many seeds and prints what they violate; 1 if any does."""
    started, failed = WALL(), 0
    counts: Counter[str] = Counter()
    phases: Counter[str] = Counter()
    # A process for each seed: none inherits anything of another, so that one replayed alone is the same.
    with multiprocessing.get_context("fork").Pool(jobs, maxtasksperchild=1) as pool:
        for count, (seed, phase, every, error) in enumerate(pool.imap_unordered(run_one, seeds, chunksize=1)):
            phases[phase] += 1
            found = [(name, text) for name, text in every if name not in without]
            failed += bool(found or error)
            counts.update(name for name, _ in found)
            for _, text in found:
                sys.stdout.write(f"seed {seed}: {text}\n")
            if error:
                sys.stdout.write(f"seed {seed}: ERROR {error}\n")
            if count % 500 == 499:
                sys.stdout.write(f"{count + 1} of {len(seeds)} seeds, {failed} failed\n")
            sys.stdout.flush()
    sys.stdout.write(f"{len(seeds)} seeds in {WALL() - started:.1f} s; ended as {dict(phases)}\n")
    if failed:
        sys.stdout.write(f"{failed} seeds failed ({dict(counts)}). Replay one: make simulate SEED=<seed>\n")
    return 1 if failed else 0


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="replay this seed and print its trace")
    parser.add_argument("--logs", action="store_true", help="with --seed: print the operator's log, too")
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--seeds", type=int, default=300, help="how many")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--without", default="", help="invariants that are not checked, with commas")
    parser.add_argument("--skip", type=int, nargs="*", default=(), help="seeds that are not run")
    options = parser.parse_args()
    reproducible("tests.support.simulation")
    prepare()
    if options.seed is not None:
        return replay(options.seed, logs=options.logs)
    every = range(options.first, options.first + options.seeds)
    seeds = [seed for seed in every if seed not in options.skip]
    return sweep(seeds, jobs=options.jobs, without=frozenset(options.without.split(",")))


if __name__ == "__main__":
    raise SystemExit(main())
