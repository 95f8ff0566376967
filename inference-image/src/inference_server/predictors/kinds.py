"""What a kind of predictor declares to the server, and how the server finds it.

A kind is a folder ``predictors/<kind>/`` with a constant ``KIND`` in its module ``kind``, and a row in
:mod:`inference_server.predictors.table`. Nothing else of the server names it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from inference_server.artifacts import MANIFEST_FILE, ArtifactError, Manifest, load_manifest, read_manifest
from inference_server.predictors import table
from inference_server.predictors.base import FALLBACK_REASONS, Prediction, Predictor
from inference_server.references import Reference, resolve

if TYPE_CHECKING:
    from fastapi import APIRouter

    from inference_server.metrics import ModelMetrics
    from inference_server.service import InferenceService
    from inference_server.settings import Settings
    from inference_server.validation.suites import Suite


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """A metric of a kind's own, beside those of the contract.

    Attributes:
        name: as in the contract, without ``_total`` for a counter.
        type: what it is.
        text: its help.
        labels: for each label beside ``model`` and ``version`` the closed set of its values. Every
            combination exists at zero from the first scrape.
    """

    name: str
    type: Literal["counter", "gauge"]
    text: str
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelSets:
    """The closed sets of label values that the series of a kind may carry.

    The labels of answers are not here: they are those of the loaded artefacts.

    Attributes:
        routes: every route that a prediction may name, in the order in which they are tried.
        last_resort: the route whose answers a client should not act on, or ``None``.
        fallback_reasons: every reason that a prediction may name.
        rules: every rule that a prediction may name.
        families: metrics of the kind's own.
    """

    routes: tuple[str, ...]
    last_resort: str | None = None
    fallback_reasons: tuple[str, ...] = FALLBACK_REASONS
    rules: tuple[str, ...] = ()
    families: tuple[Family, ...] = ()

    def undeclared(self, prediction: Prediction, labels: Sequence[str]) -> str | None:
        """Name the first label value of ``prediction`` that is outside the sets, or nothing."""
        for what, value, known in (
            ("label", prediction.label, labels),
            ("route", prediction.route, self.routes),
            *(("fallback", reason, self.fallback_reasons) for reason in prediction.fallbacks),
            *(("route", route, self.routes) for route in prediction.dimension_mismatches),
        ):
            if value not in known:
                return f"{what} {value!r}"
        if prediction.rule is not None and prediction.rule not in self.rules:
            return f"rule {prediction.rule!r}"
        return None


@dataclass(frozen=True, slots=True)
class ItemCodec:
    """How an item travels as one string, and what of it people read.

    The Open Inference Protocol and the shadow comparison carry strings. For a kind whose items are texts the
    defaults do.

    Attributes:
        encode: the string of an item.
        decode: the item of a string; raises InvalidInputError.
        text: the part of an item that is limited in length and logged, masked.
    """

    encode: Callable[[Any], str] = str
    decode: Callable[[str], Any] = str
    text: Callable[[Any], str] = str


def _observe_nothing(metrics: ModelMetrics, prediction: Prediction) -> None:
    """Count nothing: the contract's own series are enough."""


def _as_answered(prediction: Prediction) -> Prediction:
    """Return what was answered: it is also what a shadow is judged by."""
    return prediction


def _no_limits(schemas: dict[str, Any], settings: Settings) -> None:
    """Leave the OpenAPI document as it is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictorKind:
    """One kind of predictor.

    Attributes:
        name: the value of ``kind`` in the manifest of its artefacts.
        summary: one line for the command line.
        load: make a predictor of a directory after its manifest and files were verified. The kind reads
            its own settings from the environment. Raises ArtifactError or ValueError.
        router: the kind's HTTP paths with their schemas. What has to be started and closed with the server
            belongs into the router's lifespan. Paths that show what other clients sent are added to
            ``service.admin_routers`` instead, which are served on the admin port.
        label_sets: what its series may carry.
        prediction_paths: POST paths of ``router`` that ask for predictions and count in
            ``model_requests_total``.
        items: what its items are called in error messages, in the plural.
        warm_up: items that are predicted before a loaded model serves.
        codec: how an item travels as a string.
        observe: counts what else a prediction says, after the contract's own series; for requests of clients
            only, neither of validation suites nor of a shadow comparison.
        compared: the prediction that a shadow comparison holds against the other server's answer; with an
            empty label there is nothing to compare. By default what was answered.
        limit_schemas: puts limits of the settings into the schemas of the OpenAPI document.
        examples: reference to what ``inference-server loadgen`` sends, a function that gives path and bodies.
        suites: reference to its validation suites, a mapping from name to Suite.
        validate: further commands of ``inference-server validate`` by name, as references.
        train, evaluate: references to the commands ``inference-server train NAME`` and ``evaluate NAME``.
    """

    name: str
    summary: str
    load: Callable[[Path, Manifest], Predictor]
    router: Callable[[InferenceService], APIRouter]
    label_sets: LabelSets
    prediction_paths: frozenset[str]
    items: str = "texts"
    warm_up: tuple[Any, ...] = ()
    codec: ItemCodec = ItemCodec()
    observe: Callable[[ModelMetrics, Prediction], None] = _observe_nothing
    compared: Callable[[Prediction], Prediction] = _as_answered
    limit_schemas: Callable[[dict[str, Any], Settings], None] = _no_limits
    examples: Reference | None = None
    suites: Reference | None = None
    validate: Mapping[str, Reference] = field(default_factory=dict)
    train: Reference | None = None
    evaluate: Reference | None = None

    def load_examples(self) -> tuple[str, list[bytes]]:
        """Path and bodies of example requests.

        Raises:
            LookupError: the kind has none.
        """
        if self.examples is None:
            raise LookupError(f"The kind {self.name!r} brings no example requests.")
        path, bodies = resolve(self.examples)()
        return str(path), list(bodies)

    def load_suites(self) -> Mapping[str, Suite]:
        """Return its validation suites by name."""
        suites: Mapping[str, Suite] = {} if self.suites is None else resolve(self.suites)
        return suites


def find_kind(name: str) -> PredictorKind | None:
    """Return the kind of a name, or ``None`` when the table has no such row."""
    module = table.KINDS.get(name)
    if module is None:
        return None
    kind: PredictorKind = resolve(f"{module}:KIND")
    return kind


def all_kinds() -> list[PredictorKind]:
    """Return every kind of the table, in its order."""
    return [resolve(f"{module}:KIND") for module in table.KINDS.values()]


def kind_of(directory: Path) -> PredictorKind:
    """Return the kind of the artefacts in a directory; nothing is verified yet.

    Raises:
        ArtifactError: there is no manifest that can be read, or this server does not know its kind.
    """
    name = read_manifest(directory).kind
    kind = find_kind(name)
    if kind is None:
        raise ArtifactError(
            directory / MANIFEST_FILE,
            expected=f"a kind that this server knows ({', '.join(table.KINDS)})",
            seen=f"it is {name!r}",
            advice="Use a server that has this kind of predictor.",
        )
    return kind


def load_artifacts(directory: Path, *, kind: PredictorKind | None = None) -> Predictor:
    """Verify the artefacts in a directory and load their predictor.

    Args:
        directory: has a ``manifest.json``.
        kind: the only kind that is accepted; by default every kind of the table.

    Raises:
        ArtifactError: naming the file, what was expected and what was seen.
        ValueError: an environment variable of the kind is out of range.
    """
    manifest = load_manifest(directory)
    if kind is None:
        kind = kind_of(directory)
    elif manifest.kind != kind.name:
        raise ArtifactError(
            directory / MANIFEST_FILE,
            expected=f"artefacts of the kind {kind.name!r}",
            seen=f"their kind is {manifest.kind!r}",
            advice="A server keeps the kind that it was started with; start another one for these artefacts.",
        )
    return kind.load(directory, manifest)
