"""What the plugin needs of the cluster: read, watch and command ModelRollouts with the user's own rights."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from getpass import getuser
from pathlib import Path
from typing import Any, Final

import yaml

from modelrollout.api.commands import Verb, new_command
from modelrollout.api.constants import COMMAND_ANNOTATION, PLURAL
from modelrollout.cluster import paths
from modelrollout.cluster.connection import MERGE_PATCH, KubeApi
from modelrollout.cluster.errors import ApiUnavailableError, GoneError

Object = dict[str, Any]
OPERATOR_LABELS: Final = "app.kubernetes.io/name=modelrollout,app.kubernetes.io/component=operator"


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where to look: kubeconfig (None inside a pod), context and namespace (None: the context's own)."""

    kubeconfig: Path | None
    context: str | None
    namespace: str


def default_namespace(kubeconfig: Path | None, context: str | None) -> str:
    """The namespace that kubectl would use: that of the context, else `default`."""
    if kubeconfig is None or not kubeconfig.is_file():
        return "default"
    loaded = yaml.safe_load(kubeconfig.read_text(encoding="utf-8")) or {}
    wanted = context or loaded.get("current-context")
    for entry in loaded.get("contexts") or ():
        if entry.get("name") == wanted:
            return str(entry.get("context", {}).get("namespace") or "default")
    return "default"


@asynccontextmanager
async def connected(target: Target) -> AsyncIterator[Rollouts]:
    """A connection for the time of one command."""
    api = await KubeApi.connect(kubeconfig=target.kubeconfig, context=target.context)
    try:
        yield Rollouts(api=api, namespace=target.namespace)
    finally:
        await api.close()


@dataclass(frozen=True, kw_only=True)
class Rollouts:
    """The ModelRollouts of one namespace."""

    api: KubeApi
    namespace: str

    async def get(self, name: str) -> Object:
        """One ModelRollout. Raises ApiError, NotFoundError among them."""
        return await self.api.get(paths.rollout(self.namespace, name))

    async def find(self, *, everywhere: bool = False) -> list[Object]:
        """Those of the namespace, or of all namespaces, by namespace and name."""
        path = paths.collection(paths.ROLLOUTS, PLURAL, None if everywhere else self.namespace)
        items: list[Object] = (await self.api.get(path))["items"]
        return sorted(items, key=lambda item: (item["metadata"]["namespace"], item["metadata"]["name"]))

    async def watch(self, name: str) -> AsyncIterator[Object | None]:
        """The object now and at each change; None once it is deleted. Goes on over broken connections."""
        version = ""
        path = paths.collection(paths.ROLLOUTS, PLURAL, self.namespace)
        while True:
            if not version:
                current = await self.get(name)
                version = current["metadata"]["resourceVersion"]
                yield current
            query = {
                "fieldSelector": f"metadata.name={name}",
                "resourceVersion": version,
                "timeoutSeconds": "300",
            }
            try:
                async for event in self.api.watch(path, query):
                    if event["type"] == "ERROR":
                        version = ""
                        break
                    version = event["object"]["metadata"]["resourceVersion"]
                    yield None if event["type"] == "DELETED" else event["object"]
            except GoneError:
                version = ""
            except ApiUnavailableError:
                continue

    async def command(self, name: str, verb: Verb, *, wait: float) -> Object | None:
        """Ask the operator for something; the object once it has taken note, None if it has not by then."""
        command = new_command(verb, id_=uuid.uuid4().hex[:12], at=datetime.now(UTC), user=_user())
        body = {"metadata": {"annotations": {COMMAND_ANNOTATION: command.to_annotation()}}}
        path = paths.rollout(self.namespace, name)
        await self.api.request("PATCH", path, body=body, content_type=MERGE_PATCH)
        deadline = time.monotonic() + wait
        async for current in self.watch(name):
            if current is None:
                return None
            if command.id in ((current.get("status") or {}).get("handledCommands") or ()):
                return current
            if time.monotonic() > deadline:
                return None
        return None

    async def events(self, name: str) -> list[Object]:
        """The Events about one ModelRollout, oldest first."""
        query = {"fieldSelector": f"involvedObject.name={name},involvedObject.kind=ModelRollout"}
        items: list[Object] = (
            await self.api.get(paths.collection(paths.CORE, "events", self.namespace), query)
        )["items"]
        return sorted(items, key=lambda item: item.get("lastTimestamp") or item.get("eventTime") or "")

    async def live_values(self, name: str) -> dict[str, float]:
        """Criterion -> its value now, from the operator's own metrics; empty where they cannot be reached.

        The status keeps values only where something changed, so that a quiet tick writes nothing.
        """
        try:
            services = (await self.api.get(f"{paths.CORE}/services", {"labelSelector": OPERATOR_LABELS}))[
                "items"
            ]
            for service in services:
                meta = service["metadata"]
                path = f"{paths.service(meta['namespace'], meta['name'])}:metrics/proxy/metrics"
                values = dict(parse_values(await self.api.read_text(path), self.namespace, name))
                if values:
                    return values
        except Exception:  # noqa: BLE001 - a convenience: without it the status is shown as it is written
            return {}
        return {}


def parse_values(page: str, namespace: str, name: str) -> Iterator[tuple[str, float]]:
    """(criterion, value) of one rollout from a page in the Prometheus text format."""
    prefix = f'modelrollout_criterion_value{{namespace="{namespace}",name="{name}",criterion="'
    for line in page.splitlines():
        if line.startswith(prefix):
            criterion, _, rest = line[len(prefix) :].partition('"')
            yield criterion, float(rest.rsplit(" ", 1)[1])


def _user() -> str | None:
    try:
        return getuser()
    except (KeyError, OSError):
        return None


def dumps(value: object, form: str) -> str:
    """An object as `json` or `yaml`."""
    if form == "json":
        return json.dumps(value, indent=2, ensure_ascii=False)
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True).rstrip()
