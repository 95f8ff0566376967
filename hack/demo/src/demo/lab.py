"""The stage: a kind cluster with images, Prometheus, the operator, a first version of the model, and load."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from demo import diagnose, images, manifests, scenario
from demo.api import Api, ApiError, Json
from demo.cluster import Backend, Cluster
from demo.console import Narrator
from demo.errors import CommandError, DemoError
from demo.process import run
from demo.wait import until

HELM_SECONDS: Final = 120


@dataclass(frozen=True, kw_only=True)
class Options:
    """What can be chosen on the command line; `images` replaces images that would be built, by name."""

    cluster: str
    replicas: int
    rate: float
    images: dict[str, str]


@dataclass
class Lab:
    """A running stage. Made by `build`; everything that fails raises DemoError or DevClusterError."""

    cluster: Cluster
    helm: Path
    options: Options
    narrator: Narrator
    images: dict[str, str]
    api: Api = field(init=False)

    def __post_init__(self) -> None:
        self.api = Api(self.cluster.kubeconfig)

    @classmethod
    def build(cls, options: Options, narrator: Narrator, backend: Backend) -> Lab:
        """Bring up what is not there yet. Idempotent: a second demo starts from the first one's cluster."""
        helm = backend.helm()
        with ExitStack() as until_the_cluster_runs:
            with narrator.step("Docker"):
                docker = until_the_cluster_runs.enter_context(backend.docker())
            with narrator.step("Images: operator, inference server, Prometheus (minutes the first time)"):
                wanted = [image for image in images.ALL if image.name not in options.images]
                built = dict(options.images)
                if wanted:
                    built |= images.build(docker, wanted, backend.bases(docker))
            with narrator.step(f"The kind cluster {options.cluster}"):
                cluster = backend.create(options.cluster)
        lab = cls(cluster=cluster, helm=helm, options=options, narrator=narrator, images=built)
        with narrator.step("Images into the cluster"):
            cluster.load_images(*built.values())
        lab.clear()
        with narrator.step("Prometheus, scraping every second"):
            lab._prometheus()
        with narrator.step("The operator, by its Helm chart: two replicas, one leader"):
            lab._operator()
        with narrator.step(f"Version 1.0 of the emotion model, {options.replicas} pods, by its Helm chart"):
            lab._server()
        with narrator.step(f"Load: {options.rate:g} French and English sentences a second"):
            lab._load()
        return lab

    def details(self) -> str:
        """Return what may explain a failure."""
        namespaces = (manifests.DEMO_NAMESPACE, manifests.OPERATOR_NAMESPACE, manifests.MONITORING_NAMESPACE)
        said = diagnose.operator_log(self.cluster, manifests.OPERATOR_NAMESPACE)
        return f"{diagnose.gather(self.cluster, *namespaces)}\n{said}"

    def rollout(self) -> Json:
        """Return the ModelRollout."""
        namespace = manifests.DEMO_NAMESPACE
        return self.api.json(
            f"/apis/modelrollout.dev/v1alpha1/namespaces/{namespace}/modelrollouts/{scenario.ROLLOUT}"
        )

    def load_counts(self) -> Json:
        """Return what became of the requests so far."""
        text = self.api.pod(manifests.DEMO_NAMESPACE, manifests.LOAD_POD, manifests.LOAD_PORT, "/")
        counts: Json = json.loads(text)
        return counts

    def patch_candidate(self, deployment: str) -> None:
        """Start a rollout as a user does."""
        change = json.dumps({"spec": {"candidate": {"deployment": deployment}}})
        self.cluster.kubectl(
            "patch",
            "mro",
            scenario.ROLLOUT,
            "-n",
            manifests.DEMO_NAMESPACE,
            "--type=merge",
            f"--patch={change}",
        )

    def clear(self) -> None:
        """Remove the model and the load of an earlier demo, so that each starts with the first version."""
        namespaces = {item["metadata"]["name"] for item in self.api.items("/api/v1/namespaces")}
        if manifests.DEMO_NAMESPACE in namespaces:
            with self.narrator.step("Clearing what an earlier demo left"):
                self._hurry()
                self.cluster.kubectl(
                    "delete",
                    "namespace",
                    manifests.DEMO_NAMESPACE,
                    "--ignore-not-found",
                    "--timeout=120s",
                    timeout=150,
                )

    def _hurry(self) -> None:
        """Nothing here is worth a graceful end: neither the return of traffic nor the pods' drain."""
        namespace = ("-n", manifests.DEMO_NAMESPACE)
        free = '--patch={"metadata":{"finalizers":null}}'
        with suppress(CommandError):  # there is no rollout, or no such resource yet
            self.cluster.kubectl("delete", "mro", "--all", *namespace, "--wait=false")
            self.cluster.kubectl("patch", "mro", scenario.ROLLOUT, *namespace, "--type=merge", free)
        with suppress(CommandError):
            self.cluster.kubectl("delete", "deployments", "--all", *namespace)
            self.cluster.kubectl("delete", "pods", "--all", *namespace, "--grace-period=1")

    def _prometheus(self) -> None:
        self._apply(
            manifests.namespace(manifests.MONITORING_NAMESPACE),
            *manifests.prometheus(self.images["prometheus"]),
        )
        self._rolled_out(manifests.MONITORING_NAMESPACE, "prometheus")

    def _operator(self) -> None:
        self._apply(manifests.namespace(manifests.OPERATOR_NAMESPACE))
        address = f"http://prometheus.{manifests.MONITORING_NAMESPACE}.svc:{manifests.PROMETHEUS_PORT}"
        self._helm(
            "modelrollout",
            manifests.OPERATOR_NAMESPACE,
            scenario.operator_values(self.images["operator"], prometheus=address),
        )
        self._rolled_out(manifests.OPERATOR_NAMESPACE, "modelrollout")

    def _server(self) -> None:
        self._apply(manifests.namespace(manifests.DEMO_NAMESPACE))
        values = scenario.server_values(self.images["inference-server"], replicas=self.options.replicas)
        self._helm("inference-server", manifests.DEMO_NAMESPACE, values, release=scenario.ROLLOUT)
        self._rolled_out(manifests.DEMO_NAMESPACE, f"{scenario.ROLLOUT}-{scenario.FIRST}", seconds=240)
        until(
            lambda: (self.rollout().get("status") or {}).get("phase") in {"Idle", "Succeeded"},
            seconds=60,
            expected="the operator to accept the ModelRollout (phase Idle or Succeeded)",
            seen=lambda: f"its status is {json.dumps(self.rollout().get('status'))}",
            details=self.details,
        )

    def _load(self) -> None:
        self._apply(manifests.load(self.images["inference-server"], rate=self.options.rate))
        enough = self.options.rate * 3

        def answered() -> bool:
            return int(self.load_counts()["ok"]) >= enough

        until(
            answered,
            seconds=60,
            expected=f"{enough:.0f} answered requests",
            seen=lambda: f"the load generator says {self._said(self.load_counts)}",
            details=self.details,
        )

    def _apply(self, *objects: Json) -> None:
        documents = "\n---\n".join(json.dumps(one) for one in objects)
        flags = ("--server-side", "--force-conflicts", "--field-manager=demo", "-f", "-")
        self.cluster.kubectl("apply", *flags, stdin=documents)

    def _helm(self, chart: str, namespace: str, values: Json, *, release: str | None = None) -> None:
        command: list[str | Path] = [
            self.helm, "upgrade", "--install", release or chart, images.ROOT / "charts" / chart,
            "--namespace", namespace, "--kubeconfig", self.cluster.kubeconfig, "--values", "-",
            "--timeout", f"{HELM_SECONDS}s",
        ]  # fmt: skip
        try:
            run(command, stdin=json.dumps(values), timeout=HELM_SECONDS + 30)
        except CommandError as error:
            raise DemoError(
                expected=f"helm to install {chart}", seen=str(error), details=self.details()
            ) from error

    def _rolled_out(self, namespace: str, deployment: str, seconds: int = 120) -> None:
        where = f"deployment/{deployment}"
        try:
            self.cluster.kubectl(
                "rollout", "status", where, "-n", namespace, f"--timeout={seconds}s", timeout=seconds + 15
            )
        except CommandError as error:
            raise DemoError(
                expected=f"{where} in {namespace} to be ready within {seconds} s",
                seen=str(error),
                details=self.details(),
            ) from error

    @staticmethod
    def _said(ask: Callable[[], Json]) -> str:
        try:
            return json.dumps(ask())
        except ApiError as error:
            return f"nothing ({error})"
