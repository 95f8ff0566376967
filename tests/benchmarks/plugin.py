"""How soon the plugin's live view shows a change."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import threading
import time

from tests.benchmarks.rig import API, NAMESPACE, ROOT, Rig, criterion, progress, wait_until
from tests.benchmarks.tables import Figure
from tests.support.terminal import drain

LONG_STEPS = [{"weight": 25, "duration": "1h"}, {"weight": 100}]


def live_view(runs: int = 12) -> list[Figure]:
    """`status -w` on a terminal: seconds from the new phase in the API server to its name on the screen."""
    delays = []
    with Rig() as rig, progress(f"Live view, {runs} changes"):
        rig.operator()
        rig.rollout("live", replicas=4, steps=LONG_STEPS, criteria=[criterion()])
        rig.wait_at_weight("live")
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [
                *(sys.executable, "-c", "from modelrollout.cli.main import main; main()"),
                *("-n", NAMESPACE, "status", "-w", "live"),
            ],
            env=os.environ
            | {
                "PYTHONPATH": str(ROOT / "operator" / "src"),
                "KUBECONFIG": str(rig.control_plane.kubeconfig),
                "TERM": "xterm-256color",
                "COLUMNS": "100",
            },
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        screen = bytearray()
        threading.Thread(target=drain, args=(ours, screen), daemon=True).start()
        try:
            wait_until(lambda: b"Progressing" in screen, 30, "the first view")
            for number in range(runs):
                verb, phase = (("pause", "Paused"), ("resume", "Progressing"))[number % 2]
                shown = len(screen)
                command = json.dumps({"id": f"bench-{number}", "verb": verb})
                change = {"metadata": {"annotations": {"modelrollout.dev/command": command}}}
                rig.patch(f"{API}/live", change)
                wait_until(lambda phase=phase: rig.status("live")["phase"] == phase, 30, phase, every=0.005)
                written = time.monotonic()
                wait_until(
                    lambda phase=phase, shown=shown: phase.encode() in screen[shown:], 30, "it", every=0.005
                )
                delays.append(time.monotonic() - written)
        finally:
            process.kill()
            process.wait(10)
    return [Figure("`status -w`: phase changed → on the screen", "ms", tuple(1000 * one for one in delays))]
