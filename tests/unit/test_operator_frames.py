"""How many frames an event takes to the call that scales: a path that one can follow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COUNT = """
import json, sys, traceback
from pathlib import Path
from tests.support.simulation.__main__ import prepare
prepare()
from modelrollout.operator.workqueue import WorkQueue
from modelrollout.traffic.replicas import ReplicasProvider
from tests.support.simulation.runner import simulate

stacks = {"wake": [], "set_weight": []}

def watched(cls, name, entrance):
    real = getattr(cls, name)
    def call(self, *words, **options):
        ours = [
            (Path(frame.filename).name, frame.name)
            for frame in traceback.extract_stack(limit=60)
            if "/modelrollout/" in frame.filename
        ]
        code = real.__code__
        ours.append((Path(code.co_filename).name, code.co_name))
        names = [function for _, function in ours]
        if entrance in names:
            stacks[name].append(ours[names.index(entrance):])
        return real(self, *words, **options)
    setattr(cls, name, call)

watched(WorkQueue, "wake", sys.argv[1])
watched(ReplicasProvider, "set_weight", "_run_one")
simulate(17)
print(json.dumps([max(stacks[name], key=len) for name in ("wake", "set_weight")]))
"""


def path_from(entrance: str) -> tuple[int, set[str]]:
    """Frames of ours, and their files, from the function where events come in to the call that scales.

    Two stacks are added: from the event to the queue, and from the task that the queue starts to the
    provider, which makes the call. The longest of each in a simulated history count.
    """
    done = subprocess.run(
        [sys.executable, "-c", COUNT, entrance],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    to_queue, to_scale = json.loads(done.stdout.splitlines()[-1])
    frames = [*to_queue, *to_scale]
    return len(frames), {file for file, _ in frames}


def test_an_event_of_a_model_rollout_reaches_the_scale_call_in_twelve_frames_of_six_files() -> None:
    frames, files = path_from("rollout_changed")
    assert frames <= 12
    assert len(files) <= 6, sorted(files)


def test_an_event_of_a_deployment_or_its_endpoints_takes_the_informer_more() -> None:
    frames, files = path_from("_watch")
    assert frames <= 16
    assert files <= {
        *("informer.py", "cache.py", "wakeups.py", "workqueue.py"),
        *("controller.py", "reconcile.py", "executor.py", "replicas.py"),
    }
