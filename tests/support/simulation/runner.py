"""One seed: everything put together, run to its end, and what was found."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass
from typing import Any, Final

from modelrollout.api.commands import Command, CommandError, append_command
from modelrollout.api.constants import COMMANDS_ANNOTATION
from tests.support.simulation import clock, operators
from tests.support.simulation.apiserver import ApiServer, Change, Json, Key
from tests.support.simulation.controllers import Controllers, image_of, is_ready
from tests.support.simulation.faults import Faults
from tests.support.simulation.gateway import Client, Request
from tests.support.simulation.invariants import Invariants
from tests.support.simulation.neighbours import Neighbours
from tests.support.simulation.prometheus import SCRAPE_SECONDS, Prometheus
from tests.support.simulation.scenario import Scenario
from tests.support.simulation.truth import Violation, stale_view

FAULTS_UNTIL: Final = 240.0
SETTLE_SECONDS: Final = 180.0
QUIET_SECONDS: Final = 25.0
FROZEN_SECONDS: Final = 125.0
DISTURBED_SECONDS: Final = 30.0
RESTING: Final = frozenset({"Succeeded", "RolledBack", "Idle"})


@dataclass(frozen=True)
class Outcome:
    """What one seed came to."""

    seed: int
    violations: tuple[Violation, ...]
    phase: str
    trace: tuple[str, ...]
    writes: int
    error: str = ""


class Simulation:
    """A cluster, a Prometheus, people, faults and one or two operators, all from one seed."""

    def __init__(self, seed: int, *, keep_trace: bool = False) -> None:
        random = clock.RealRandom(seed)
        self.seed = seed
        self._keep_trace = keep_trace
        self._trace: list[str] = []
        self.server = ApiServer()
        self.controllers = Controllers(self.server, clock.RealRandom(seed + 1), slowest=0.3)
        self.prometheus = Prometheus(running=self._running, now=lambda: self.now)
        self.faults = Faults(clock.RealRandom(seed + 2), until=FAULTS_UNTIL)
        self.scenario = Scenario(clock.RealRandom(seed + 3))
        self.invariants = Invariants(self)
        self.neighbours = Neighbours(self, clock.RealRandom(seed + 4))
        self.foreign: set[str] = set()
        self.given: set[str] = set()
        self.lease_key = Key("/apis/coordination.k8s.io/v1", "leases", "system", "operator")
        self.writes = 0
        self.last_status: Json | None = None
        self.last_spec: Json = {}
        self.edited_at = -100.0
        self.deleted_deployments = False
        self._disturbed_until = -1.0
        self._random = random
        self._lives: dict[str, operators.Life] = {}
        self._numbers: dict[str, int] = {}
        self._commands = 0
        self._replicas = (
            2 if self.faults.kinds & {"skew", "partition", "lease"} else random.choice((1, 1, 1, 2))
        )
        self._skews = {
            f"op-{n}": random.choice((-900.0, 0.0, 60.0, 900.0)) if self.faults.has("skew") else 0.0
            for n in (1, 2)
        }

    @property
    def now(self) -> float:
        """Virtual seconds since the start."""
        return asyncio.get_running_loop().time()

    @property
    def rollout(self) -> Json | None:
        """The ModelRollout as it is."""
        return self.server.objects.get(self.scenario.key)

    @property
    def disturbed(self) -> bool:
        """Whether pods were taken or counts changed by hand a short while ago."""
        return self.now < self._disturbed_until

    def disturb(self) -> None:
        """Capacity is not the operator's fault for a while."""
        self._disturbed_until = self.now + DISTURBED_SECONDS

    def clients(self) -> list[Client]:
        """Operators that live."""
        return [life.client for _, life in sorted(self._lives.items())]

    def leader(self) -> Client | None:
        """The operator that holds the Lease."""
        lease = self.server.objects.get(self.lease_key)
        holder = lease["spec"].get("holderIdentity") if lease else None
        return next((client for client in self.clients() if client.identity == holder), None)

    def skew(self, client: Client) -> float:
        """By how much its wall clock is ahead."""
        return self._skews.get(client.identity, 0.0)

    def trace(self, kind: str, text: str) -> None:
        """One line of what happened."""
        if self._keep_trace:
            self._trace.append(f"{self.now:9.3f}  {kind:<9}  {text}")

    # -- operators ----------------------------------------------------------------------------------------

    def start(self, identity: str) -> None:
        """A new process of that operator."""
        if identity in self._lives:
            return
        self._numbers[identity] = self._numbers.get(identity, 0) + 1
        client = Client(f"{identity}.{self._numbers[identity]}", identity)
        self.trace("operator", f"{client.name} starts")
        self._lives[identity] = operators.Life(self, client, self._skews.get(identity, 0.0))

    def crash(self, client: Client, why: str) -> None:
        """Kills it at once; its container starts again."""
        self.trace("operator", f"{client.name} crashes {why}")
        life = self._lives.pop(client.identity, None)
        if life is not None:
            life.kill()
        delay = self._random.choice((1.0, 3.0, 20.0))
        asyncio.get_running_loop().call_later(delay, self.start, client.identity)

    def stop(self, client: Client, *, graceful: bool) -> None:
        """Ends it, with SIGTERM or without, and starts it again."""
        if not graceful:
            self.crash(client, "when it is killed")
            return
        self.trace("operator", f"{client.name} receives SIGTERM")
        self._lives[client.identity].terminate()
        asyncio.get_running_loop().call_later(30.0, self._kill_late, client)

    def _kill_late(self, client: Client) -> None:
        life = self._lives.get(client.identity)
        if life is not None and life.client is client:
            self.crash(client, "after its grace period")

    def ended(self, client: Client) -> None:
        """A process has ended by itself."""
        self.trace("operator", f"{client.name} has ended")
        client.dead = True
        life = self._lives.get(client.identity)
        if life is not None and life.client is client:
            del self._lives[client.identity]
        asyncio.get_running_loop().call_later(2.0, self.start, client.identity)

    def command(self, verb: Any) -> None:
        """A person's command, as the command line sends it."""
        if self.rollout is None:
            return
        self._commands += 1
        body = {"id": f"c{self._commands}", "verb": str(verb)}
        self.server.edit(self.scenario.key, lambda obj: add_command(obj, body))
        self.invariants.commanded(str(verb), (self.rollout.get("status") or {}).get("run") or {})

    # -- seen by the gateway ------------------------------------------------------------------------------

    def before_write(self, client: Client, request: Request) -> None:
        """A write is about to be carried out."""
        self.invariants.before_write(client, request)

    def after_write(self, client: Client, request: Request) -> None:
        """It was carried out."""
        if request.plural != "leases":
            self.writes += 1
            self.trace("write", f"{client.name}: {request} {self._told(request)}")
        self.invariants.after_write(client, request)

    def _told(self, request: Request) -> str:
        body = request.body or {}
        if request.plural == "events":
            return f"{body['reason']}: {body['message'][:110]}"
        if request.subresource == "scale":
            return f"replicas={body['spec']['replicas']}"
        if request.subresource == "status":
            status = body["status"]
            step = (status.get("step") or {}).get("index")
            head = f"{status.get('phase')}/{status.get('reason')} step={step}"
            return f"{head} {status.get('message', '')[:110]}"
        return json.dumps(body)[:150] if request.method == "PATCH" else ""

    def _running(self) -> dict[str, str]:
        return {p["metadata"]["name"]: image_of(p) for p in self.server.all("pods") if is_ready(p)}

    def _changed(self, change: Change) -> None:
        if change.key == self.scenario.key:
            self.last_status = change.new.get("status") or self.last_status
            self.last_spec = change.new["spec"]
            if (change.old or {}).get("spec") != change.new["spec"]:
                self.edited_at = self.now
        gone = change.type == "DELETED" and change.new["metadata"]["uid"] in self.given
        self.deleted_deployments = self.deleted_deployments or gone
        self.invariants.changed(change)

    # -- the run ------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """From the first object to the last check."""
        loop = asyncio.get_running_loop()
        loop.set_task_factory(operators.task_factory)  # type: ignore[arg-type]
        self.server.listeners.append(self._changed)
        self.scenario.prepare(self)
        self.neighbours.prepare()
        self.trace("setup", f"faults: {', '.join(sorted(self.faults.kinds)) or 'none'}")
        self.trace("setup", f"beside it: {', '.join(sorted(self.neighbours.chosen)) or 'nothing'}")
        self.trace("setup", f"spec: {json.dumps(self.scenario.spec)}")
        for number in range(self._replicas):
            loop.call_later(5.0 * number, self.start, f"op-{number + 1}")
        scraping = loop.create_task(self._scrape())
        people = loop.create_task(self._people())
        faults = loop.create_task(self.faults.run(self))
        await asyncio.gather(people, faults)
        await self._settle()
        self.invariants.final()
        await self._fresh()
        scraping.cancel()

    async def _scrape(self) -> None:
        while True:
            await asyncio.sleep(SCRAPE_SECONDS)
            self.prometheus.scrape()

    async def _people(self) -> None:
        for at, what, act in self.scenario.acts:
            await asyncio.sleep(max(0.0, at - self.now))
            self.trace("hand", what)
            act(self)

    async def _settle(self) -> None:
        """Until nothing has been written for a while, or long enough."""
        deadline, seen, since = self.now + SETTLE_SECONDS, self.writes, self.now
        # A watch that went silent is given up after 90 s, and what it missed is found then.
        quiet = FROZEN_SECONDS if "frozen watch" in self.faults.kinds else QUIET_SECONDS
        while self.now < deadline:
            await asyncio.sleep(2.0)
            if self.writes != seen:
                seen, since = self.writes, self.now
            elif self.now - since > quiet and self._rests():
                return

    def _rests(self) -> bool:
        rollout = self.rollout
        if not self.neighbours.rest():
            return False
        status = (rollout or {}).get("status") or {}
        # A watch that was frozen has to prove itself for a while: until then that is said, and not at rest.
        return rollout is None or (status.get("phase") in RESTING and not stale_view(status))

    async def _fresh(self) -> None:
        """A fresh operator must find nothing to do where all is at rest."""
        rollout = self.rollout
        if rollout is None or not self._rests() or self.invariants.violations:
            return
        if "skew" in self.faults.kinds:
            return  # another operator has another clock, and says so
        for client in self.clients():
            self.crash(client, "at the end, for a fresh one")
        before = self.writes
        await asyncio.sleep(45.0)
        if self.writes != before:
            self.invariants.violated("quiet", f"a fresh operator made {self.writes - before} writes")

    def outcome(self, error: str = "") -> Outcome:
        """What came of it."""
        phase = str(((self.rollout or {}).get("status") or {}).get("phase") or "gone")
        if self.prometheus.unknown:
            error = error or f"the model of Prometheus does not know {self.prometheus.unknown[0]!r}"
        found = tuple(self.invariants.violations)
        return Outcome(self.seed, found, phase, tuple(self._trace), self.writes, error)


def add_command(obj: Json, body: Json) -> None:
    """Adds a command to those that wait, as the plugin does."""
    annotations = obj["metadata"].setdefault("annotations", {})
    handled = (obj.get("status") or {}).get("handledCommands") or ()
    with contextlib.suppress(CommandError):  # the list is full, and the person is told so
        command = Command.model_validate(body)
        annotations[COMMANDS_ANNOTATION] = append_command(annotations, command, handled=handled)


def simulate(seed: int, *, keep_trace: bool = False) -> Outcome:
    """Runs one seed."""
    holder: list[Simulation] = []

    async def main() -> Outcome:
        simulation = Simulation(seed, keep_trace=keep_trace)
        holder.append(simulation)
        await simulation.run()
        return simulation.outcome()

    try:
        outcome: Outcome = clock.run(main, seed)
    except Exception as error:
        if not holder:
            raise
        return Outcome(
            seed, tuple(holder[0].invariants.violations), "error", tuple(holder[0]._trace), 0, repr(error)
        )
    return outcome
