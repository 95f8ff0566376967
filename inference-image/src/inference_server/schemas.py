"""What goes over the wire on the paths that every kind has; those of a kind are in its folder.

The limits that the environment sets enter the OpenAPI document in ``api.app``.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from inference_server.text import has_surrogate


def _encodable(value: str) -> str:
    if has_surrogate(value):
        raise ValueError("expected a text without half of a surrogate pair")
    return value


Text = Annotated[str, AfterValidator(_encodable)]
"""A text that can be written as UTF-8; pydantic checks this only where a text has limits."""
NonEmpty = Annotated[str, StringConstraints(min_length=1)]


class Strict(BaseModel):
    """Refuses fields it does not know, so that a misspelt option is not ignored."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Answer(BaseModel):
    """Who answered, and how long it took."""

    model: str
    version: str
    request_id: str
    latency_ms: float = Field(description="Milliseconds in the server, waiting included.")


class ErrorBody(BaseModel):
    """What went wrong, as a sentence; the same for every path."""

    error: str
    details: list[str] | None = Field(default=None, description="Which fields are wrong, and how.")


class InferInput(BaseModel):
    """A tensor of texts."""

    model_config = ConfigDict(extra="forbid")
    name: str
    shape: list[Annotated[int, Field(ge=0)]] = Field(description="[n] or [n, 1].")
    datatype: Literal["BYTES"]
    data: list[Any] = Field(description="n texts, flat or nested like the shape.")
    parameters: dict[str, Any] | None = None


class InferRequestedOutput(BaseModel):
    """The name of an output tensor that is wanted."""

    model_config = ConfigDict(extra="forbid")
    name: str
    parameters: dict[str, Any] | None = None


class InferRequest(BaseModel):
    """A request of the Open Inference Protocol."""

    model_config = ConfigDict(extra="forbid")
    id: str | None = None
    inputs: list[InferInput] = Field(min_length=1, max_length=1)
    outputs: list[InferRequestedOutput] | None = None
    parameters: dict[str, Any] | None = None


class InferOutput(BaseModel):
    """A tensor of answers."""

    name: str
    shape: list[int]
    datatype: str
    data: list[Any]
    parameters: dict[str, Any] | None = None


class InferResponse(BaseModel):
    """An answer of the Open Inference Protocol."""

    model_name: str
    model_version: str
    id: str
    outputs: list[InferOutput]
    parameters: dict[str, Any] | None = None


class ServerMetadata(BaseModel):
    """Who this server is."""

    name: str
    version: str
    extensions: list[str]


class TensorMetadata(BaseModel):
    """Name, type and shape of a tensor; -1 is any length."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(BaseModel):
    """What a model takes and gives."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]
    parameters: dict[str, Any]


class ModelReady(BaseModel):
    """Whether a model answers."""

    name: str
    ready: bool


class Live(BaseModel):
    """The process answers."""

    live: bool


class Ready(BaseModel):
    """Whether requests should be sent here."""

    ready: bool
    state: str
    reason: str | None = None


class ModelStatus(BaseModel):
    """The model that serves, and how the server is set up."""

    state: str
    kind: str = Field(description="The kind of predictor.")
    model: str
    version: str
    artifacts: str
    artifact_sha256: str
    config_sha256: str
    encoder: str
    dimension: int
    labels: list[str]
    routes: list[str]
    pod: str
    ready_after_seconds: float | None
    uptime_seconds: float
    waiting_texts: int
    pii_masking: bool
    prediction_log: list[str]
    shadow_url: str | None
    added_latency_ms: float = Field(description="A fault for demonstrations; 0 in earnest use.")
    details: dict[str, Any] = Field(description="What else the kind of predictor says of its model.")


class ReloadRequest(Strict):
    """Which artefacts to load."""

    artifacts: NonEmpty | None = Field(
        default=None,
        description="Directory below the models' root; by default the one that serves, read again.",
    )


class MaskRequest(Strict):
    """A text to mask."""

    text: Text


class MaskResponse(BaseModel):
    """The text as it is masked, and the part of it that would be logged."""

    masked: str
    logged: str


class ShadowAnswer(Strict):
    """The other server's answer; an empty label is no answer."""

    label: Text
    confidence: float = Field(ge=0, le=1)


class CompareRequest(Strict):
    """A copy of a request with the answer that the client got."""

    request_id: Text
    version: Text
    texts: list[NonEmpty] = Field(min_length=1)
    answers: list[ShadowAnswer] = Field(min_length=1)


class CompareResponse(BaseModel):
    """Whether both servers agree, text by text."""

    agree: list[Literal["true", "false", "none"]]


class DisagreementsResponse(BaseModel):
    """The last disagreements, the newest first."""

    total: int = Field(description="Disagreements since the start, exported or not.")
    items: list[dict[str, Any]]
