"""Parts of the spec that name or describe pods: versions, capacity, traffic, validation Jobs."""

import hashlib
import json
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from modelrollout.api.base import Bool, Int, Matches, NamedList, Rule, SpecModel
from modelrollout.api.durations import Duration, IntOrPercent, PositiveDuration

DNS_LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
DNS_SUBDOMAIN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
ENV_NAME = r"^[-._a-zA-Z][-._a-zA-Z0-9]*$"

NAME_MESSAGE = "must be a name of a-z, 0-9 and -, such as emotion-2-4-1"
DnsLabel = Annotated[str, Matches(DNS_LABEL, NAME_MESSAGE), Field(max_length=63)]
ObjectName = Annotated[
    str,
    Matches(DNS_SUBDOMAIN, "must be a name of a-z, 0-9, - and ., such as emotion-2-4-1"),
    Field(max_length=253),
]
ShortText = Annotated[str, Field(max_length=1024)]
LongText = Annotated[str, Field(max_length=4096)]
ImageName = Annotated[
    str, Matches(r"^\S+$", "must be an image without spaces, such as classifier:2.4.2"), Field(max_length=512)
]


class KeyRef(SpecModel):
    """A key of a Secret or ConfigMap in the same namespace."""

    name: ObjectName = Field(description="Name of the Secret or ConfigMap.")
    key: str = Field(min_length=1, max_length=253, description="Key in it.")
    optional: Bool = Field(default=False, description="Whether it may be missing.")


class FieldRef(SpecModel):
    """A field of the pod."""

    field_path: str = Field(
        min_length=1, max_length=253, description="Path of the field, such as metadata.name or status.podIP."
    )


class EnvSource(SpecModel):
    """Where the value of an environment variable comes from."""

    secret_key_ref: KeyRef | None = Field(default=None, description="A key of a Secret.")
    config_map_key_ref: KeyRef | None = Field(default=None, description="A key of a ConfigMap.")
    field_ref: FieldRef | None = Field(default=None, description="A field of the pod.")

    rules = (
        Rule(
            field="",
            message="exactly one of secretKeyRef, configMapKeyRef and fieldRef must be given",
            cel="[has(self.secretKeyRef), has(self.configMapKeyRef), has(self.fieldRef)].filter(given, "
            "given).size() == 1",
            holds=lambda source: (
                [source.secret_key_ref, source.config_map_key_ref, source.field_ref].count(None) == 2
            ),
        ),
    )


class EnvVar(SpecModel):
    """An environment variable."""

    name: Annotated[str, Matches(ENV_NAME, "must be the name of a variable, such as MODEL_PATH")] = Field(
        max_length=253, description="Name of the variable."
    )
    value: str | None = Field(default=None, max_length=4096, description="Its value as text.")
    value_from: EnvSource | None = Field(
        default=None, description="Where its value comes from, instead of value."
    )

    rules = (
        Rule(
            field="value",
            message="value and valueFrom exclude each other",
            cel="!(has(self.value) && has(self.valueFrom))",
            holds=lambda env: env.value is None or env.value_from is None,
        ),
    )


class Stable(SpecModel):
    """The version in charge when the object is first applied."""

    deployment: ObjectName = Field(
        description="Deployment that serves now. It counts only when the object is first applied; afterwards "
        "status.stable is the truth, so that a promotion needs no edit here."
    )


class Candidate(SpecModel):
    """What to roll out: a Deployment that exists, or changes to a copy of stable that the operator makes."""

    deployment: ObjectName | None = Field(
        default=None,
        description="Deployment of the candidate, made by you, usually with 0 replicas: the operator only "
        "ever changes "
        "its replica count. Instead of image, env, args and command.",
    )
    image: ImageName | None = Field(
        default=None,
        description="Image of the candidate: the operator makes a labelled copy of stable's Deployment with "
        "this image.",
    )
    env: NamedList[EnvVar] = Field(
        default=(),
        max_length=100,
        description="Environment variables that are set or replaced in the copy of stable, such as the path "
        "of a model.",
    )
    args: tuple[LongText, ...] = Field(
        default=(),
        max_length=100,
        description="Arguments that replace those of the container in the copy of stable.",
    )
    command: tuple[LongText, ...] = Field(
        default=(),
        max_length=100,
        description="Command that replaces the one of the container in the copy of stable.",
    )
    container: DnsLabel | None = Field(
        default=None,
        description="Container of the pod that image, env, args and command are for; by default the first.",
    )

    rules = (
        Rule(
            field="",
            message="exactly one form must be given: deployment, or at least one of image, env, args and "
            "command",
            cel="(has(self.deployment) ? 1 : 0) + ((has(self.image) || (has(self.env) && size(self.env) > "
            "0) || "
            "(has(self.args) && size(self.args) > 0) || (has(self.command) && size(self.command) > 0)) ? 1 "
            ": 0) == 1",
            holds=lambda candidate: (candidate.deployment is not None) != candidate.is_copy,
        ),
        Rule(
            field="container",
            message="container belongs to image, env, args or command, not to deployment",
            cel="!(has(self.container) && has(self.deployment))",
            holds=lambda candidate: candidate.container is None or candidate.deployment is None,
        ),
    )

    @property
    def is_copy(self) -> bool:
        """Whether the operator makes the Deployment, as a copy of stable."""
        return bool(self.image or self.env or self.args or self.command)

    def fingerprint(self) -> str:
        """Ten hexadecimal digits that change with what is asked for and with nothing else."""
        text = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:10]


class Capacity(SpecModel):
    """How many pods there may be beyond, and how few under, `replicas` while traffic moves."""

    max_surge: IntOrPercent = Field(
        default=IntOrPercent("25%"),
        description="Pods above spec.replicas while traffic moves, as a number or a percentage (rounded "
        "up). 0 where spare "
        "GPUs do not exist; then maxUnavailable must be above 0.",
    )
    max_unavailable: IntOrPercent = Field(
        default=IntOrPercent(0),
        description="Pods under spec.replicas while traffic moves, as a number or a percentage (rounded "
        "down).",
    )

    rules = (
        Rule(
            field="maxUnavailable",
            message="maxSurge and maxUnavailable cannot both be 0: no pod could ever move",
            cel="!((self.maxSurge == 0 || self.maxSurge == '0%') && "
            "(self.maxUnavailable == 0 || self.maxUnavailable == '0%'))",
            holds=lambda capacity: not (capacity.max_surge.is_zero and capacity.max_unavailable.is_zero),
        ),
    )


class Provider(StrEnum):
    """Who splits the traffic."""

    REPLICAS = "Replicas"
    HAPROXY = "HAProxy"
    GATEWAY_API = "GatewayAPI"


class HAProxyOptions(SpecModel):
    """Options of the HAProxy provider."""

    user_header: Annotated[
        str, Matches(r"^[A-Za-z0-9-]+$", "must be the name of a header, such as x-user-id")
    ] = Field(
        default="x-user-id",
        max_length=64,
        description="Request header with the user's id. Its SHA-1 decides who is on the candidate: the same "
        "at every step, "
        "on every router and after every restart. Requests without it are split at random.",
    )
    replicas: Int = Field(default=2, ge=1, le=20, description="Router pods.")
    image: ImageName | None = Field(
        default=None, description="HAProxy image; by default the operator's setting."
    )


class GatewayAPIOptions(SpecModel):
    """Options of the GatewayAPI provider."""

    http_route: DnsLabel = Field(description="HTTPRoute in the same namespace whose backend weights are set.")


class Traffic(SpecModel):
    """How traffic is divided between stable and the candidate."""

    provider: Provider = Field(
        default=Provider.REPLICAS,
        description="Replicas: by the number of pods of each version behind the Service. HAProxy: exact and "
        "sticky per user. "
        "GatewayAPI: by the weights of an HTTPRoute.",
    )
    haproxy: HAProxyOptions | None = Field(default=None, description="Options of the HAProxy provider.")
    gateway_api: GatewayAPIOptions | None = Field(
        default=None, alias="gatewayAPI", description="Options of the GatewayAPI provider; needed by it."
    )

    rules = (
        Rule(
            field="haproxy",
            message="haproxy belongs to provider HAProxy",
            cel="!has(self.haproxy) || self.provider == 'HAProxy'",
            holds=lambda traffic: traffic.haproxy is None or traffic.provider is Provider.HAPROXY,
        ),
        Rule(
            field="gatewayAPI",
            message="gatewayAPI must be given with provider GatewayAPI, and only with it",
            cel="has(self.gatewayAPI) == (self.provider == 'GatewayAPI')",
            holds=lambda traffic: (
                (traffic.gateway_api is not None) == (traffic.provider is Provider.GATEWAY_API)
            ),
        ),
    )


class Validation(SpecModel):
    """A Job that must succeed before the candidate gets more traffic."""

    name: Annotated[str, Matches(DNS_LABEL, NAME_MESSAGE)] = Field(
        max_length=40,
        description="Name of the validation, unique in the rollout.",
    )
    image: ImageName = Field(description="Image of the Job.")
    command: tuple[LongText, ...] = Field(
        default=(), max_length=50, description="Command instead of the image's own."
    )
    args: tuple[LongText, ...] = Field(
        default=(),
        max_length=50,
        description="Arguments. $(CANDIDATE_URL) is the address of a Service that reaches only candidate "
        "pods.",
    )
    env: NamedList[EnvVar] = Field(
        default=(),
        max_length=50,
        description="Environment variables besides CANDIDATE_URL, which is always set.",
    )
    timeout: PositiveDuration = Field(
        default=PositiveDuration("10m"), description="A Job that takes longer is ended and has failed."
    )
    before_weights: tuple[Annotated[Int, Field(ge=1, le=100)], ...] = Field(
        default=(),
        max_length=20,
        description="Weights of the steps before which it runs; by default before every one.",
    )
    ttl: Duration = Field(
        default=Duration("24h"), description="How long a finished Job and its logs are kept."
    )
    service_account: ObjectName | None = Field(
        default=None, description="ServiceAccount of the Job; by default the namespace's default."
    )
    run_as_root: Bool = Field(
        default=False,
        description="Let the container run as root, where the namespace allows it. By default the pod keeps "
        "the restricted pod security standard, and an image whose user is root needs this.",
    )
    image_pull_secrets: tuple[ObjectName, ...] = Field(
        default=(), max_length=10, description="Secrets for pulling the image."
    )
