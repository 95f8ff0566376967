"""What goes wrong, and when: drawn from the seed, asked for request by request and event by event."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.support.simulation import prometheus
from tests.support.simulation.apiserver import ApiServer, Key
from tests.support.simulation.clock import RealRandom
from tests.support.simulation.controllers import is_ready
from tests.support.simulation.gateway import Client, Request

if TYPE_CHECKING:
    from tests.support.simulation.runner import Simulation

KINDS: Final = (
    "requests", "lost answers", "slow", "lag", "frozen watch", "cut watch", "compaction", "duplicates",
    "stale lists", "rights", "crashes", "skew", "prometheus", "scrapes", "lease", "restarts", "pods",
    "partition",
)  # fmt: skip
WATCHED: Final = ("deployments", "endpointslices", "services", "pods", "modelrollouts", "jobs")


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to one request.

    Attributes:
        latency, latency_back: Seconds until the API server has it, and until the answer is back.
        before: Status (0: the connection breaks) instead of being carried out; None: it is.
        after: The same instead of its answer, after it was carried out.
    """

    latency: float
    latency_back: float
    before: int | None = None
    after: int | None = None


class Faults:
    """The faults of one seed."""

    def __init__(self, random: RealRandom, *, until: float, kinds: frozenset[str] | None = None) -> None:
        self._random = random
        self.until = until
        self.over = False
        self.kinds = kinds if kinds is not None else frozenset(random.sample(KINDS, random.randint(0, 5)))
        self._lag: dict[str, float] = {}
        self._unready: set[Key] = set()
        self._cut_off = ""
        self._denied: set[tuple[str, str]] = set()
        self._crash_at: dict[str, tuple[int, str]] = {}
        self.rate = random.choice((0.02, 0.1, 0.25))

    def has(self, kind: str) -> bool:
        """Whether that kind of fault happens now."""
        return kind in self.kinds and not self.over

    # -- asked by the gateway -----------------------------------------------------------------------------

    def of(self, client: Client, request: Request) -> Fault:
        """What happens to this request."""
        random = self._random
        latency, back = random.uniform(0.001, 0.01), random.uniform(0.001, 0.01)
        if self.has("slow") and random.random() < 0.1:
            latency, back = random.uniform(0, 8), random.uniform(0, 4)
        if client.identity == self._cut_off and not self.over:
            latency, back = random.uniform(0.5, 8), random.uniform(0, 2)
        verb = "watch" if "watch" in request.query else request.method
        if not self.over and (
            (verb, request.plural) in self._denied or ("*", request.plural) in self._denied
        ):
            return Fault(latency, back, before=403)
        if self.has("requests") and random.random() < self.rate:
            choices = (0, 429, 500, 503) if verb not in ("PUT", "PATCH") else (0, 429, 500, 503, 409)
            return Fault(latency, back, before=random.choice(choices))
        if self.has("lost answers") and request.writes and random.random() < self.rate:
            return Fault(latency, back, after=random.choice((0, 500, 504)))
        return Fault(latency, back)

    def lag(self, client: Client, plural: str) -> float:
        """Seconds until an event reaches a watch."""
        if self.has("lag"):
            if plural not in self._lag or self._random.random() < 0.02:
                self._lag[plural] = self._random.choice((0.05, 0.5, 2.0, 5.0))
            return self._random.uniform(0, self._lag[plural])
        return self._random.uniform(0.001, 0.02)

    def duplicates(self, client: Client) -> bool:
        """Whether an event comes twice."""
        return self.has("duplicates") and self._random.random() < 0.2

    def list_version(self, client: Client, plural: str, server: ApiServer) -> int:
        """As of which version a list is served."""
        if not self.has("stale lists") or self._random.random() < 0.5:
            return server.version
        back = self._random.randint(1, 60)
        return max(server.compacted, 1000, server.version - back)

    def crashes(self, client: Client, when: str) -> bool:
        """Whether the operator dies now."""
        if not self.has("crashes"):
            return False
        if client.name not in self._crash_at:
            number = int(self._random.expovariate(0.1)) + 1
            self._crash_at[client.name] = (number, self._random.choice(("before", "after")))
        return self._crash_at[client.name] == (client.writes, when)

    # -- that happen by themselves ------------------------------------------------------------------------

    async def run(self, simulation: Simulation) -> None:
        """Makes them happen until `until`, then lets all heal."""
        loop, random = asyncio.get_running_loop(), self._random
        happen: dict[str, Callable[[Simulation], None]] = {
            "frozen watch": self._freeze,
            "cut watch": self._cut,
            "compaction": self._compact,
            "rights": self._deny,
            "prometheus": self._prometheus,
            "scrapes": self._scrapes,
            "lease": self._lease,
            "restarts": self._restart,
            "skew": self._restart,
            "partition": self._partition,
            "pods": self._pods,
        }
        chosen = [happen[kind] for kind in sorted(self.kinds) if kind in happen]
        while loop.time() < self.until:
            await asyncio.sleep(random.uniform(2, 25))
            if chosen:
                random.choice(chosen)(simulation)
        self.heal(simulation)

    def heal(self, simulation: Simulation) -> None:
        """Nothing goes wrong any more."""
        self.over = True
        self._denied.clear()
        for key in sorted(self._unready):
            simulation.controllers.set_ready(key, True)
        simulation.prometheus.state, simulation.prometheus.scraping = prometheus.UP, True
        simulation.trace("fault", "no faults from now on")

    def _later(self, seconds: float, work: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_later(seconds, lambda: None if self.over else work())

    def _streams(self, simulation: Simulation, plural: str) -> list[object]:
        return [s for c in simulation.clients() for s in c.streams if s.plural == plural]

    def _freeze(self, simulation: Simulation) -> None:
        plural = self._random.choice(WATCHED)
        for client in simulation.clients():
            for stream in client.streams:
                if stream.plural == plural:
                    stream.frozen = True
        simulation.trace("fault", f"the watches of {plural} go silent")

    def _cut(self, simulation: Simulation) -> None:
        plural = self._random.choice(WATCHED)
        for client in simulation.clients():
            for stream in list(client.streams):
                if stream.plural == plural:
                    stream.cut()
        simulation.trace("fault", f"the watches of {plural} break")

    def _compact(self, simulation: Simulation) -> None:
        self._cut(simulation)
        simulation.server.compact()

    def _deny(self, simulation: Simulation) -> None:
        plural = self._random.choice(
            ("deployments", "endpointslices", "services", "pods", "jobs", "modelrollouts")
        )
        verb = self._random.choice(("PATCH", "POST", "GET", "watch", "*"))
        self._denied.add((verb, plural))
        simulation.trace("fault", f"the right to {verb} {plural} is gone")
        self._later(self._random.uniform(5, 60), lambda: self._denied.discard((verb, plural)))
        if verb in ("watch", "*", "GET"):
            for client in simulation.clients():
                for stream in list(client.streams):
                    if stream.plural == plural:
                        stream.end()

    def _prometheus(self, simulation: Simulation) -> None:
        server = simulation.prometheus
        states = (prometheus.DOWN, prometheus.SLOW, prometheus.ERROR, prometheus.PARTIAL)
        server.state = self._random.choice(states)
        simulation.trace("fault", f"Prometheus is {server.state}")
        self._later(self._random.uniform(3, 60), lambda: setattr(server, "state", prometheus.UP))

    def _scrapes(self, simulation: Simulation) -> None:
        simulation.prometheus.scraping = False
        simulation.trace("fault", "Prometheus scrapes nothing")
        self._later(self._random.uniform(10, 90), lambda: setattr(simulation.prometheus, "scraping", True))

    def _lease(self, simulation: Simulation) -> None:
        key = simulation.lease_key
        if key in simulation.server.objects:
            simulation.server.delete(key)
            simulation.trace("hand", "the Lease is deleted")

    def _partition(self, simulation: Simulation) -> None:
        """Hardly anything of one operator gets through in time; the other one is well."""
        self._cut_off = self._random.choice(("op-1", "op-2"))
        simulation.trace("fault", f"{self._cut_off} is all but cut off")
        self._later(self._random.uniform(5, 30), lambda: setattr(self, "_cut_off", ""))

    def _restart(self, simulation: Simulation) -> None:
        client = self._random.choice(simulation.clients() or [None])  # type: ignore[list-item]
        if client is not None:
            simulation.stop(client, graceful=self._random.random() < 0.5)

    def _pods(self, simulation: Simulation) -> None:
        pods = [pod for pod in simulation.server.all("pods") if is_ready(pod)]
        if not pods:
            return
        pod = self._random.choice(pods)
        key = Key("/api/v1", "pods", pod["metadata"]["namespace"], pod["metadata"]["name"])
        simulation.disturb()
        if self._random.random() < 0.5:
            simulation.server.delete(key)
            simulation.trace("fault", f"pod {key.name} is evicted")
        else:
            simulation.controllers.set_ready(key, False)
            self._unready.add(key)
            simulation.trace("fault", f"pod {key.name} is not ready")
            self._later(self._random.uniform(1, 20), lambda: self._ready_again(simulation, key))

    def _ready_again(self, simulation: Simulation, key: Key) -> None:
        self._unready.discard(key)
        simulation.controllers.set_ready(key, True)
