"""What the plugin needs of the cluster: read, watch and command ModelRollouts with the user's own rights."""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from getpass import getuser
from pathlib import Path
from typing import Any, Final

import yaml

from modelrollout.api.commands import Command, CommandError, Verb, append_command, new_command
from modelrollout.api.constants import COMMANDS_ANNOTATION, PLURAL
from modelrollout.api.printable import needs_escapes, printable_json
from modelrollout.cli.live import Live, live_values
from modelrollout.cli.text import moment
from modelrollout.cluster import resources
from modelrollout.cluster.errors import ApiError, ApiUnavailableError, ConflictError, GoneError
from modelrollout.cluster.plain_client import PlainKubeApi
from modelrollout.cluster.resources import MERGE_PATCH

Object = dict[str, Any]
REFUSED: Final = "CommandRefused"
REFUSAL_SECONDS: Final = 3.0
"""How long to wait for the Event that says why a command was not carried out."""

ADD_ATTEMPTS: Final = 20
ADD_PAUSE: Final = 0.05
AGAIN_SECONDS: Final = 0.5
"""Pause before a watch that has ended is begun again: one that ends at once must not ask all the time."""


class CommandRefusedError(Exception):
    """The operator did not carry a command out; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where to look.

    Attributes:
        kubeconfig: None inside a pod.
        context: None for the current one.
        namespace: That of the rollouts.
        metrics: Address of the operator's /metrics; None to find it through the API server.
    """

    kubeconfig: Path | None
    context: str | None
    namespace: str
    metrics: str | None = None


def default_kubeconfig() -> Path | None:
    """Return the kubeconfig that is used if none is named.

    The first file of $KUBECONFIG that exists, else ~/.kube/config.
    """
    named = [Path(part) for part in os.environ.get("KUBECONFIG", "").split(os.pathsep) if part]
    candidates = named or [Path.home() / ".kube" / "config"]
    return next((path for path in candidates if path.is_file()), None)


def default_namespace(kubeconfig: Path | None, context: str | None) -> str:
    """Return the namespace that kubectl would use: that of the context, else `default`."""
    if kubeconfig is None or not kubeconfig.is_file():
        return "default"
    try:
        loaded = yaml.safe_load(kubeconfig.read_text(encoding="utf-8")) or {}
        wanted = context or loaded.get("current-context")
        for entry in loaded.get("contexts") or ():
            if entry.get("name") == wanted:
                return str(entry.get("context", {}).get("namespace") or "default")
    except (OSError, yaml.YAMLError, AttributeError):
        return "default"  # connecting says what is wrong with the file
    return "default"


@asynccontextmanager
async def connected(target: Target) -> AsyncIterator[Rollouts]:
    """Yield a connection for the time of one command."""
    if target.kubeconfig is None and "KUBERNETES_SERVICE_HOST" not in os.environ:
        raise ApiError(
            0,
            "Configuration",
            "expected a kubeconfig in $KUBECONFIG or ~/.kube/config, found none: name one with --kubeconfig",
        )
    api = await PlainKubeApi.connect(kubeconfig=target.kubeconfig, context=target.context)
    try:
        yield Rollouts(api=api, namespace=target.namespace, metrics=target.metrics)
    finally:
        await api.close()


@dataclass(frozen=True, kw_only=True)
class Rollouts:
    """The ModelRollouts of one namespace."""

    api: PlainKubeApi
    namespace: str
    metrics: str | None = None

    async def get(self, name: str) -> Object:
        """Return one ModelRollout. Raises ApiError, NotFoundError among them."""
        return await self.api.get(resources.rollout(self.namespace, name))

    async def find(self, *, everywhere: bool = False) -> list[Object]:
        """Return those of the namespace, or of all namespaces, by namespace and name."""
        path = resources.collection(resources.ROLLOUTS, PLURAL, None if everywhere else self.namespace)
        return sorted(
            _items(await self.api.get(path)),
            key=lambda item: (item["metadata"]["namespace"], item["metadata"]["name"]),
        )

    async def watch(self, name: str) -> AsyncIterator[Object | None]:
        """Yield the object now and at each change; None once it is deleted.

        Goes on over broken connections.
        """
        path = resources.collection(resources.ROLLOUTS, PLURAL, self.namespace)
        only = {"fieldSelector": f"metadata.name={name}"}
        version, known = "", False
        while True:
            if not version:
                # The version of the list is that of now. The object's own may be older than what the API
                # server still remembers, and every watch from there would be refused.
                listed = await self.api.get(path, only)
                version = listed["metadata"]["resourceVersion"]
                found = _items(listed)
                if found:
                    yield found[0]
                elif known:
                    yield None
                else:
                    await self.get(name)  # says that there is none
                known = True
            try:
                query = {**only, "resourceVersion": version, "timeoutSeconds": "300"}
                async for event in self.api.watch(path, query):
                    if event["type"] == "ERROR":
                        version = ""
                        break
                    version = event["object"]["metadata"]["resourceVersion"]
                    yield None if event["type"] == "DELETED" else event["object"]
            except GoneError:
                version = ""
            except ApiUnavailableError:
                pass
            await asyncio.sleep(AGAIN_SECONDS)

    async def command(self, name: str, verb: Verb, *, wait: float) -> Object | None:
        """Ask the operator for something; the object once it has taken note, None if it has not by then.

        Raises:
            CommandRefusedError: It took note and did not do it, or too many commands wait for it.
        """
        command = new_command(verb, id_=uuid.uuid4().hex[:12], at=datetime.now(UTC), user=_user())
        before = await self._add_command(name, command)
        try:
            async with asyncio.timeout(wait):
                async for current in self.watch(name):
                    if current is None:
                        return None
                    status = current.get("status") or {}
                    if command.id in (status.get("handledCommands") or ()):
                        if _course(status) == _course(before.get("status") or {}):
                            await self._raise_refusal(name, command)
                        return current
                    before = current
        except TimeoutError:
            return None
        return None

    async def _add_command(self, name: str, command: Command) -> Object:
        """Add to the list in the object, unless it has changed since it was read; else read it again."""
        path = resources.rollout(self.namespace, name)
        for _ in range(ADD_ATTEMPTS):
            current = await self.get(name)
            meta, status = current["metadata"], current.get("status") or {}
            try:
                listed = append_command(
                    meta.get("annotations"), command, handled=status.get("handledCommands") or ()
                )
            except CommandError as error:
                raise CommandRefusedError(f"{command.verb.value} was not asked for: {error}") from error
            change = {
                "resourceVersion": meta["resourceVersion"],
                "annotations": {COMMANDS_ANNOTATION: listed},
            }
            try:
                return await self.api.request(
                    "PATCH", path, body={"metadata": change}, content_type=MERGE_PATCH
                )
            except ConflictError:
                await asyncio.sleep(ADD_PAUSE * random.uniform(0.5, 1.5))  # noqa: S311 - spreads attempts
        raise CommandRefusedError(
            f"{command.verb.value} was not asked for: {name} changed {ADD_ATTEMPTS} times; try again"
        )

    async def _raise_refusal(self, name: str, command: Command) -> None:
        """Raise what the Event says if the command changed nothing; do nothing if there is no such Event."""
        assert command.at is not None
        asked = command.at.replace(microsecond=0)
        deadline = time.monotonic() + REFUSAL_SECONDS
        while time.monotonic() < deadline:
            for event in reversed(await self.events(name)):
                told = str(event.get("message", ""))
                mine = event.get("reason") == REFUSED and told.startswith(f"{command.verb.value} ")
                if mine and moment(event["lastTimestamp"]) >= asked:
                    raise CommandRefusedError(told)
            await asyncio.sleep(0.1)

    async def events(self, name: str) -> list[Object]:
        """Return the Events about one ModelRollout, oldest first."""
        query = {"fieldSelector": f"involvedObject.name={name},involvedObject.kind=ModelRollout"}
        path = resources.collection(resources.CORE, "events", self.namespace)
        items: list[Object] = (await self.api.get(path, query))["items"]
        # Times have seconds only; the names that the operator gives end in nanoseconds.
        return sorted(items, key=lambda item: (item.get("lastTimestamp") or "", item["metadata"]["name"]))

    async def live(self, name: str) -> Live:
        """Return what the operator measures now; empty where its metrics cannot be reached."""
        return await live_values(self.api, self.metrics, self.namespace, name)


def _items(listed: Object) -> list[Object]:
    """Return the items of a list, each with the kind that a list leaves out."""
    about = {"apiVersion": listed["apiVersion"], "kind": listed["kind"].removesuffix("List")}
    return [about | item for item in listed["items"]]


def _course(status: Mapping[str, Any]) -> object:
    """Return a mark that changes with every command that is carried out."""
    run, step = status.get("run") or {}, status.get("step") or {}
    return (
        status.get("phase") if status.get("phase") == "Succeeded" else None,
        status.get("pause"),
        status.get("rollback"),
        (run.get("id"), run.get("skipAnalysis")),
        (step.get("index"), step.get("approvedAt")),
        (status.get("shadow") or {}).get("approvedAt"),
    )


def _user() -> str | None:
    try:
        return getuser()
    except (KeyError, OSError):
        return None


def without_noise(item: Mapping[str, Any]) -> Object:
    """Return the object without managedFields, as kubectl shows it."""
    metadata = {key: value for key, value in item["metadata"].items() if key != "managedFields"}
    return {**item, "metadata": metadata}


def dumps(value: object, form: str) -> str:
    """Return an object as `json` or `yaml`.

    Complete, with what a terminal would obey as escapes of the format.
    """
    text = printable_json(json.dumps(value, indent=2, ensure_ascii=False))
    if form == "json":
        return text
    plain = not needs_escapes(json.dumps(value, ensure_ascii=False))
    return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=plain)).rstrip()
