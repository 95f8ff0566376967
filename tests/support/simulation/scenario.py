"""What people do: the objects they apply, how good the candidate is, and what they change by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from modelrollout.api.commands import Verb
from tests.support.simulation import prometheus
from tests.support.simulation.apiserver import Json, Key
from tests.support.simulation.clock import RealRandom
from tests.support.simulation.controllers import APPS, CORE

if TYPE_CHECKING:
    from tests.support.simulation.runner import Simulation

NAMESPACE: Final = "models"
ROLLOUTS: Final = "/apis/modelrollout.dev/v1alpha1"
QUERY: Final = 'sim{criterion="%s",pod=~"${candidatePods}"}'
STEPS: Final = (
    ((10, "15s"), (50, "15s"), (100, None)),
    ((50, "20s"), (100, None)),
    ((25, "8s"), (75, "12s"), (100, None)),
    ((100, None),),
)
CRITERIA: Final[tuple[Json, ...]] = (
    {"name": "now", "max": 1},
    {"name": "lasting", "max": 1, "for": "10s"},
    {"name": "pausing", "max": 1, "onBreach": "Pause"},
    {"name": "warning", "max": 1, "onBreach": "Warn"},
)
Act = Callable[["Simulation"], None]


def deployment(
    name: str, image: str, replicas: int, *, app: str, port: str = "http", more: Json | None = None
) -> Json:
    """A Deployment whose pods the clients' Service selects."""
    labels = {"app": app, "version": name, **(more or {})}
    container = {"name": "server", "image": image, "ports": [{"name": port, "containerPort": 8080}]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": {"app": app}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"version": name}},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }


def service(name: str, selector: dict[str, str]) -> Json:
    """A Service for port 80, which goes to the pods' port `http`."""
    ports = [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": "http"}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": selector, "ports": ports},
    }


@dataclass
class Scenario:
    """One history of people, drawn from a seed."""

    random: RealRandom
    name: str = "emotion"
    names: dict[str, str] = field(default_factory=lambda: {letter: letter for letter in "abc"})
    labels: Json = field(default_factory=dict)
    spec: Json = field(default_factory=dict)
    acts: list[tuple[float, str, Act]] = field(default_factory=list)
    deleted: bool = False
    commands: int = 0

    @property
    def key(self) -> Key:
        """The ModelRollout."""
        return Key(ROLLOUTS, "modelrollouts", NAMESPACE, self.name)

    @property
    def app(self) -> str:
        """The label by which the Service finds pods."""
        return self.name

    def prepare(self, simulation: Simulation) -> None:
        """Draws the scenario and applies its objects."""
        random, server = self.random, simulation.server
        replicas = random.randint(1, 6)
        quality = random.choice(("good", "good", "good", "bad", "late", "never"))
        self.spec = self._draw_spec(replicas)
        server.create(CORE, "services", NAMESPACE, service(self.name, {"app": self.app}))
        self._deployment(simulation, "a", "model:good-a", replicas)
        image = {"never": "model:never-b", "bad": "model:bad-b"}.get(quality, "model:good-b")
        port = "grpc" if random.random() < 0.05 else "http"
        self._deployment(simulation, "b", image, 0, port=port)
        self._deployment(simulation, "c", "model:good-c", 0)
        if random.random() < 0.25:
            image = image.replace("-b", "-i")
            self.spec["candidate"] = {"image": image}
        if quality == "late":
            self._act(random.uniform(20, 120), "the candidate becomes bad", self._spoil(image))
        self._draw_foreign(simulation)
        self._draw_acts()
        body = {"apiVersion": "modelrollout.dev/v1alpha1", "kind": "ModelRollout"}
        body |= {"metadata": {"name": self.name}, "spec": self.spec}  # type: ignore[dict-item]
        start = random.uniform(0, 3) if random.random() < 0.2 else random.uniform(8, 10)
        self._act(start, "apply", lambda sim: self._apply(sim, body))
        self.acts.sort(key=lambda act: act[0])

    def _draw_spec(self, replicas: int) -> Json:
        random = self.random
        surge, unavailable = random.choice((("25%", 0), (1, 0), (0, 1), ("100%", "50%")))
        spec: Json = {
            "replicas": replicas,
            "service": self.name,
            "stable": {"deployment": self.names["a"]},
            "candidate": {"deployment": self.names["b"]},
            "capacity": {"maxSurge": surge, "maxUnavailable": unavailable},
            "steps": [
                {"weight": weight, **({"duration": duration} if duration else {})}
                for weight, duration in random.choice(STEPS)
            ],
            "progressDeadline": "60s",
            "evaluation": {"interval": random.choice(("2s", "5s", "10s"))},
            "rollback": {"minCapacity": random.choice(("50%", "100%", "0%"))},
            "criteria": [
                {**criterion, "query": QUERY % criterion["name"]}
                for criterion in random.sample(CRITERIA, random.randint(0, 2))
            ],
        }
        if random.random() < 0.3:
            spec["observation"] = {"duration": "20s", "keepStable": random.choice(("Full", "None"))}
        if random.random() < 0.25:
            image = random.choice(("job:good", "job:good", "job:bad"))
            spec["validations"] = [{"name": "smoke", "image": image, "timeout": "30s"}]
        if random.random() < 0.15:
            spec["shadow"] = {"duration": "15s"}
        return spec

    def _deployment(self, simulation: Simulation, name: str, image: str, replicas: int, **kw: Any) -> None:
        body = deployment(self.names[name], image, replicas, app=self.app, more=self.labels, **kw)
        created = simulation.server.create(APPS, "deployments", NAMESPACE, body)
        simulation.given.add(created["metadata"]["uid"])

    def _draw_foreign(self, simulation: Simulation) -> None:
        """Objects of other people with the names that the operator would choose, and other pods."""
        random, server = self.random, simulation.server
        for body in server.all("services"):
            simulation.foreign.add(body["metadata"]["uid"])
        suffix = random.choice(("-candidate", "-shadow", "", "", "", ""))
        if suffix:
            body = server.create(CORE, "services", NAMESPACE, service(self.name + suffix, {"app": "another"}))
            simulation.foreign.add(body["metadata"]["uid"])
        if random.random() < 0.1:
            name = random.choice(("b-batch", "other"))
            body = deployment(name, "model:good-x", random.randint(1, 3), app=self.app)
            created = server.create(APPS, "deployments", NAMESPACE, body)
            simulation.foreign.add(created["metadata"]["uid"])

    # -- what people do -----------------------------------------------------------------------------------

    def _act(self, at: float, what: str, act: Act) -> None:
        self.acts.append((at, what, act))

    def _apply(self, simulation: Simulation, body: Json) -> None:
        simulation.server.create(ROLLOUTS, "modelrollouts", NAMESPACE, body)

    def _spoil(self, image: str) -> Act:
        return lambda simulation: simulation.prometheus.set_mode(image, prometheus.BAD)

    def _draw_acts(self) -> None:
        random = self.random
        makers: tuple[Callable[[], tuple[str, Act]], ...] = (
            self._new_image, self._new_image, self._other_candidate, self._back_again, self._command,
            self._command, self._scale_by_hand, self._replicas, self._pause, self._gone, self._metrics,
        )  # fmt: skip
        for _ in range(random.choice((0, 0, 1, 1, 2, 3))):
            what, act = random.choice(makers)()
            self._act(random.uniform(8, 150), what, act)
        if random.random() < 0.15:
            options = random.choice(({}, {"propagationPolicy": "Foreground"}))
            self._act(random.uniform(30, 200), f"delete {options}", self._delete(options))
        if random.random() < 0.1:
            self._both_in_turn()

    def _edit(self, simulation: Simulation, key: Key, change: Callable[[Json], None]) -> None:
        if key in simulation.server.objects:
            simulation.server.edit(key, change)

    def _edit_spec(self, **fields: Any) -> Act:
        return lambda sim: self._edit(sim, self.key, lambda obj: obj["spec"].update(fields))

    def _key(self, letter: str) -> Key:
        return Key(APPS, "deployments", NAMESPACE, self.names[letter])

    def _set_image(self, name: str, image: str) -> Act:
        def change(obj: Json) -> None:
            obj["spec"]["template"]["spec"]["containers"][0]["image"] = image

        return lambda sim: self._edit(sim, self._key(name), change)

    def _new_image(self) -> tuple[str, Act]:
        name, quality = self.random.choice("abb"), self.random.choice(("good", "bad"))
        image = f"model:{quality}-{name}2"
        return f"set image of {name} to {image}", self._set_image(name, image)

    def _other_candidate(self) -> tuple[str, Act]:
        name = self.random.choice("acb")
        return f"candidate {name}", self._edit_spec(candidate={"deployment": self.names[name]})

    def _back_again(self) -> tuple[str, Act]:
        image = f"model:{self.random.choice(('good', 'bad'))}-j"
        return f"candidate image {image}", self._edit_spec(candidate={"image": image})

    def _command(self) -> tuple[str, Act]:
        verb = self.random.choice(list(Verb))
        second = self.random.choice((None, None, Verb.PROMOTE, Verb.PROMOTE_FULL))

        def act(sim: Simulation) -> None:
            sim.command(verb)
            if second is not None:  # before anybody looked
                sim.command(second)

        return f"command {verb}" + (f" and {second}" if second else ""), act

    def _scale_by_hand(self) -> tuple[str, Act]:
        name, count = self.random.choice("ab"), self.random.randint(0, 6)

        def act(sim: Simulation) -> None:
            sim.disturb()
            self._edit(sim, self._key(name), lambda obj: obj["spec"].update(replicas=count))

        return f"scale {name} to {count}", act

    def _replicas(self) -> tuple[str, Act]:
        count = self.random.randint(1, 6)

        def act(sim: Simulation) -> None:
            sim.disturb()
            self._edit_spec(replicas=count)(sim)

        return f"replicas {count}", act

    def _pause(self) -> tuple[str, Act]:
        self._act(self.random.uniform(160, 200), "paused: false", self._edit_spec(paused=False))
        return "paused: true", self._edit_spec(paused=True)

    def _gone(self) -> tuple[str, Act]:
        name = self.random.choice("bc")

        def act(sim: Simulation) -> None:
            key = self._key(name)
            if key in sim.server.objects:
                sim.disturb()
                sim.server.delete(key)

        return f"delete Deployment {name}", act

    def _metrics(self) -> tuple[str, Act]:
        mode = self.random.choice((prometheus.EMPTY, prometheus.NAN, prometheus.BAD, prometheus.GOOD))
        image = self.random.choice(("model:good-b", "model:good-i", "model:good-c"))
        return f"{image} measures {mode}", lambda sim: sim.prometheus.set_mode(image, mode)

    def _delete(self, options: Json) -> Act:
        def act(sim: Simulation) -> None:
            self.deleted = True
            if self.key in sim.server.objects:
                sim.server.delete(self.key, options)

        return act

    def _both_in_turn(self) -> None:
        """The Deployment that is idle gets a new image and is rolled out: the two are used in turn."""
        quality = self.random.choice(("good", "bad"))
        self._act(170, "set image of a", self._set_image("a", f"model:{quality}-a3"))
        self._act(175, "candidate a", self._edit_spec(candidate={"deployment": self.names["a"]}))
