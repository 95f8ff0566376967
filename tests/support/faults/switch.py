"""FAULTS=SEED in the environment: every operator of a test reaches the API server through a fault proxy."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.support.faults.plan import FaultPlan

if TYPE_CHECKING:
    from tests.support.faulty_api import FaultyApi

VARIABLE: Final = "FAULTS"
PATIENCE: Final = 4.0
"""How much longer tests wait for something: a silent watch alone takes up to 40 s until it is noticed."""
RATES: Final = {
    "cut": 0.05,
    "delay": 0.05,
    "duplicate": 0.1,
    "swap": 0.05,
    "gone": 0.1,
    "stale-list": 0.3,
    "slow-list": 0.1,
    "error-before": 0.03,
    "error-after": 0.03,
    "conflict": 0.03,
    "timeout-before": 0.01,
    "timeout-after": 0.01,
    "crash-before": 0.04,
    "crash-after": 0.04,
}
AT_MOST: Final = {"crash-before": 2, "crash-after": 2, "timeout-before": 1, "timeout-after": 1}


def seed() -> str:
    """The seed that was asked for; empty: no faults."""
    return os.environ.get(VARIABLE, "")


def patience() -> float:
    """By what factor tests wait longer than without faults."""
    return PATIENCE if seed() else 1.0


class Between:
    """What is between one operator and its API server: a fault proxy if that was asked for, else nothing.

    Args:
        kubeconfig: How the operator reaches the API server.
        directory: For the kubeconfig of the proxy.
        who: The operator's identity; the faults of two replicas differ.
        crash: Ends the operator at once and starts it again.
    """

    def __init__(self, kubeconfig: Path, *, directory: Path, who: str, crash: Callable[[], None]) -> None:
        self._kubeconfig = kubeconfig
        self._directory = directory
        self._crash = crash
        self._proxy: FaultyApi | None = None
        self._test = os.environ.get("PYTEST_CURRENT_TEST", "").partition(" ")[0]
        self._plan = FaultPlan(f"{seed()} {self._test} {who}", RATES, at_most=AT_MOST)

    def open(self) -> Path:
        """The kubeconfig to be used; the proxy, if any, serves from now on."""
        if not seed() or self._proxy is not None:
            return self._kubeconfig if self._proxy is None else self._proxy.kubeconfig
        from tests.support.cluster_tool import Cluster
        from tests.support.faulty_api import FaultyApi

        plane = Cluster(name="", kubeconfig=self._kubeconfig)
        self._proxy = FaultyApi(plane, self._directory, plan=self._plan)
        self._proxy.crash = self._crash
        self._proxy.__enter__()
        return self._proxy.kubeconfig

    def close(self) -> None:
        """The operator has ended: stop the proxy and print what it did."""
        if self._proxy is None:
            return
        self._proxy.__exit__(None, None, None)
        self._proxy = None
        print(self._plan.report())
        print(f"replay: make test-faults FAULTS={seed()} TESTS='{self._test}'")
