"""Change the code in small ways and run the unit tests that cover the change: which does no test notice?"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from pathlib import Path

from tests.support.mutation import score
from tests.support.mutation.workspace import PACKAGES, ROOT, Workspace

PLACE = ROOT / ".mutation"


def options() -> argparse.Namespace:
    """What is asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.mutation", description=__doc__)
    parser.add_argument(
        "packages", nargs="*", default=list(PACKAGES), help=f"of {', '.join(PACKAGES)}; default: all"
    )
    parser.add_argument("--module", default="", help="change only this module, for example `replicas`")
    parser.add_argument(
        "--sample", type=int, default=0, help="run so many of each package, at random (0: all)"
    )
    parser.add_argument("--seed", type=int, default=1, help="which ones are chosen")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--place", type=Path, default=PLACE, help="folder to work in; it is made anew")
    parser.add_argument(
        "--resume", action="store_true", help="run what is left of the run before, same folder"
    )
    return parser.parse_args()


def choose(workspace: Workspace, asked: argparse.Namespace, log: Path) -> None:
    """Make the folder and the mutants, and write down which are run."""
    workspace.make()
    wanted = {
        "workers": asked.workers,
        "seed": asked.seed,
        "only": rf"\.{re.escape(asked.module)}\.(x_|xǁ)" if asked.module else "",
        "samples": dict.fromkeys(asked.packages, asked.sample),
    }
    workspace.run("-m", "tests.support.mutation.inside", json.dumps(wanted), log=log)


def main() -> int:
    """The command; 1 where a goal is missed, 2 where it could not be measured."""
    asked, started = options(), time.monotonic()
    asked.place = asked.place.resolve()
    workspace = Workspace(asked.place, tuple(asked.packages))
    log, chosen = asked.place / "run.log", asked.place / "chosen.json"
    if not asked.resume:
        choose(workspace, asked, log)
    if not chosen.exists():
        return _failed(log)
    count = sum(len(entries) for entries in json.loads(chosen.read_text()).values())
    sys.stdout.write(f"{count} mutants …\n")
    sys.stdout.flush()
    done = workspace.run("-m", "mutmut", "run", "--max-children", str(asked.workers), log=log)
    if done.returncode:
        return _failed(log)
    results = score.read(asked.place)
    scores = [
        score.score(name, found, sampled=bool(asked.sample)) for name, found in results.items() if found
    ]
    survivors = asked.place / "survivors.txt"
    survivors.write_text(score.listing(scores))
    for each in scores:
        sys.stdout.write(f"{each}\n")
    sys.stdout.write(f"{time.monotonic() - started:.0f} s; those that no test noticed: {survivors}\n")
    return 0 if all(each.passed for each in scores) else 1


def _failed(log: Path) -> int:
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-30:])
    sys.stderr.write(
        f"{tail}\nmutmut failed: see {log}. The tests must pass without a change first (make check).\n"
    )
    return 2


if __name__ == "__main__":
    raise SystemExit(main())
