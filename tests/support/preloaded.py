"""Python programs as real processes without the CPU time of their imports.

A server process imports the module once, and each program is a fork of it: a process of its own, with its own
environment, log and exit code, that can be killed and started again like any other.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

_CONTEXT = multiprocessing.get_context("forkserver")
_MODULES: list[str] = []


class Preloaded:
    """A running `main()` of a module, with the methods of `subprocess.Popen` that the tests use.

    Args:
        module: What has the `main`; it must start no thread when it is imported.
        environment: The whole environment of the process.
        log: File that its output is appended to.
    """

    def __init__(self, module: str, environment: Mapping[str, str], log: Path) -> None:
        if module not in _MODULES:  # for the first process only: a server that runs takes no more modules
            _MODULES.append(module)
            _CONTEXT.set_forkserver_preload(_MODULES)
        log.touch()
        # daemon: ended with this process, which would wait for it otherwise
        arguments = (module, dict(environment), str(log))
        self._process = _CONTEXT.Process(target=_main, args=arguments, daemon=True)
        self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    @property
    def returncode(self) -> int | None:
        """Exit code, or the negative number of the signal that ended it; None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """The same."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Waits for its end. Raises subprocess.TimeoutExpired."""
        self._process.join(timeout)
        code = self._process.exitcode
        if code is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0.0)
        return code

    def send_signal(self, number: signal.Signals) -> None:
        """Sends a signal, unless it has ended."""
        if self._process.exitcode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


def _main(module: str, environment: dict[str, str], log: str) -> None:
    os.environ.clear()
    os.environ.update(environment)
    out = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    for number in (1, 2):
        os.dup2(out, number)
    os.close(out)
    sys.argv = [module]
    raise SystemExit(importlib.import_module(module).main())
