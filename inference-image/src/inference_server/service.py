"""The server's core, the same behind every protocol: states, predictions, comparisons, counting, logging."""

from __future__ import annotations

import asyncio
import enum
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from inference_server.artifacts import ArtifactError
from inference_server.batching import Batcher
from inference_server.errors import InvalidInputError, ServerError
from inference_server.metrics import Identity, ServerMetrics
from inference_server.predictionlog import DailyFileSink, LogRecord, PredictionLog, Sink, StreamSink
from inference_server.predictors.base import Prediction
from inference_server.predictors.kinds import PredictorKind, load_artifacts
from inference_server.registry import LoadedModel, Loader, ModelRegistry, reload_model
from inference_server.settings import LOG_TO_FILE, LOG_TO_STDOUT, Settings
from inference_server.shadow import Disagreements, ShadowJob, ShadowSender

if TYPE_CHECKING:
    from fastapi import APIRouter

logger = logging.getLogger(__name__)

Verdict = Literal["true", "false", "none"]
SOURCE_CLIENT: Final = "client"
SOURCE_SHADOW: Final = "shadow"
SOURCE_VALIDATION: Final = "validation"
SOURCE_HEADER: Final = "x-request-source"
"""A request with ``validation`` here is answered and logged like any other, and counts in no metric: the
questions of a suite are no sample of what clients ask, and would trip criteria on shares."""


class State(enum.Enum):
    """What the server is doing."""

    STARTING = "starting"
    SERVING = "serving"
    DRAINING = "draining"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Answered:
    """One prediction and the model that made it."""

    prediction: Prediction
    model: LoadedModel


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """The answer to one request.

    Attributes:
        request_id: the client's own, or one made here.
        items: what was asked.
        predictions: one an item, in order.
        identity: model and version that answered.
        accepted: for each prediction, whether a client may act on it.
        seconds: from the call to the answer, waiting included.
        source: who asked.
    """

    request_id: str
    items: Sequence[Any]
    predictions: Sequence[Prediction]
    identity: Identity
    accepted: Sequence[bool]
    seconds: float
    source: str


def request_source(headers: Mapping[str, str]) -> str:
    """Who asks: a validation suite that says so, else a client."""
    return SOURCE_VALIDATION if headers.get(SOURCE_HEADER) == SOURCE_VALIDATION else SOURCE_CLIENT


class InferenceService:
    """Use it from one event loop.

    Args:
        settings: of the process.
        kind: the kind of predictor that is served; no artefacts of another kind are loaded.
        loader: makes a predictor of a directory; by default what verifies and loads artefacts of ``kind``.
    """

    def __init__(self, settings: Settings, kind: PredictorKind, loader: Loader | None = None) -> None:
        self.settings = settings
        self.kind = kind
        self.metrics = ServerMetrics(kind.label_sets)
        self.registry = ModelRegistry(
            loader or partial(load_artifacts, kind=kind),
            self.metrics,
            version=settings.version,
            warm_up=kind.warm_up,
        )
        self.disagreements = Disagreements(settings.disagreements)
        self.admin_routers: list[APIRouter] = []  # paths of the kind that ask for the token
        self.started_at = time.monotonic()
        self.ready_after: float | None = None
        self.failure: str | None = None
        self._draining = False
        self._batcher = Batcher(
            self._work,
            workers=settings.workers,
            max_batch=settings.max_batch,
            queue_size=settings.queue_size,
            queue_timeout=settings.queue_timeout,
        )
        self._log = PredictionLog(_sinks(settings), queue_size=settings.log_queue, dropped=self._log_dropped)
        self._shadow: ShadowSender | None = None

    @property
    def state(self) -> State:
        """What the server is doing now."""
        if self._draining:
            return State.DRAINING
        if self.failure is not None:
            return State.FAILED
        return State.SERVING if self.registry.loaded else State.STARTING

    @property
    def waiting(self) -> int:
        """How many items wait for a worker."""
        return self._batcher.depth

    async def start(self) -> None:
        """Load the model; meanwhile the server lives but is not ready. A failure is kept in ``failure``."""
        if self.settings.shadow_url is not None:
            self._shadow = ShadowSender(
                self.settings.shadow_url,
                queue_size=self.settings.shadow_queue,
                timeout=self.settings.shadow_timeout,
                dropped=self._shadow_dropped,
            )
            self._shadow.start()
        try:
            loaded = await asyncio.to_thread(self.registry.load, self.settings.artifacts)
        except (ArtifactError, ValueError) as error:
            self.failure = str(error)
        except Exception as error:
            logger.exception("Loading %s failed.", self.settings.artifacts)
            self.failure = f"{self.settings.artifacts}: {type(error).__name__}: {error}"
        else:
            self.ready_after = time.monotonic() - self.started_at
            identity, info = loaded.identity, loaded.predictor.info
            logger.info(
                "Model %s version %s serves after %.2f s: encoder %s with %d dimensions, manifest %s.",
                *(identity.model, identity.version, self.ready_after),
                *(info.encoder, info.dimension, info.artifact_sha256[:12]),
            )

    def drain(self) -> None:
        """Say "not ready" from now on; every request is still answered."""
        self._draining = True

    async def close(self) -> None:
        """Finish what runs, write the log, free the model."""
        if self._shadow is not None:
            await self._shadow.close()
        await asyncio.to_thread(self._batcher.close)
        await asyncio.to_thread(self._log.close)
        self.registry.close()

    async def predict(self, items: Sequence[Any], *, request_id: str, source: str = SOURCE_CLIENT) -> Outcome:
        """Answer ``items``; count and log the predictions.

        Raises:
            InvalidInputError: too many items, or one too long.
            NotReadyError, OverloadedError, PredictionError: as their names say.
        """
        self._check(items)
        current = self.registry.current
        started = time.monotonic()
        if self.settings.added_latency:
            await asyncio.sleep(self.settings.added_latency)
        pending = self._batcher.run(items)
        current.metrics.queue(self._batcher.depth)
        answers = await pending
        seconds = time.monotonic() - started
        self._count_and_log(items, answers, seconds=seconds, request_id=request_id, source=source)
        model = answers[0].model
        predictions = [answer.prediction for answer in answers]
        accepted = [model.metrics.accepts(prediction) for prediction in predictions]
        return Outcome(
            request_id=request_id,
            items=items,
            predictions=predictions,
            identity=model.identity,
            accepted=accepted,
            seconds=seconds,
            source=source,
        )

    async def mirror(self, outcome: Outcome) -> None:
        """Hand a copy of what a client was answered to the shadow, if there is one; never waits or raises.

        To be called after the client has its answer.
        """
        if self._shadow is not None and outcome.source == SOURCE_CLIENT:
            self._shadow.offer(
                ShadowJob(
                    request_id=outcome.request_id,
                    texts=[self.kind.codec.encode(item) for item in outcome.items],
                    predictions=outcome.predictions,
                    version=outcome.identity.version,
                )
            )

    async def compare(self, job: ShadowJob) -> list[Verdict]:
        """Answer the texts of ``job`` too, and count for each whether both agree: true, false or none.

        "none" means that there is nothing to compare, because one of the two has no answer.

        Raises:
            the same as :meth:`predict`, after counting.
        """
        items = [self.kind.codec.decode(text) for text in job.texts]
        try:
            outcome = await self.predict(items, request_id=job.request_id, source=SOURCE_SHADOW)
        except ServerError:
            if self.registry.loaded:
                for _ in job.texts:
                    self.registry.current.metrics.comparison("none")
            raise
        metrics = self.registry.current.metrics
        verdicts: list[Verdict] = []
        for position, (answer, theirs) in enumerate(zip(outcome.predictions, job.predictions, strict=True)):
            own = self.kind.compared(answer)
            verdict: Verdict
            if not own.label or not theirs.label:
                verdict = "none"
            elif own.label == theirs.label:
                verdict = "true"
            else:
                verdict = "false"
                text = self.kind.codec.text(items[position])
                self.disagreements.add(job, position, text, own, outcome.identity.version)
            metrics.comparison(verdict)
            verdicts.append(verdict)
        return verdicts

    async def reload(self, directory: str | None) -> LoadedModel:
        """Load other artefacts; see :func:`inference_server.registry.reload_model`."""
        target = None if directory is None else Path(directory)
        return await asyncio.to_thread(reload_model, self.registry, target, root=self.settings.models_root)

    def request_finished(self, code: int) -> None:
        """Count a finished request for predictions, once a model is loaded."""
        if self.registry.loaded:
            self.registry.current.metrics.request(code)

    def _check(self, items: Sequence[Any]) -> None:
        settings = self.settings
        if not 1 <= len(items) <= settings.max_texts:
            raise InvalidInputError(
                f"Expected 1 to {settings.max_texts} {self.kind.items}, but there are {len(items)}."
            )
        for position, item in enumerate(items):
            text = self.kind.codec.text(item)
            if len(text) > settings.max_text_characters:
                raise InvalidInputError(
                    f"Text {position} has {len(text)} characters, over {settings.max_text_characters}."
                )

    def _work(self, items: Sequence[Any]) -> list[Answered]:
        with self.registry.lease() as model:
            predictions = model.predictor.predict(items)
            if len(predictions) != len(items):
                raise RuntimeError(f"the predictor gave {len(predictions)} answers to {len(items)} items")
            for prediction in predictions:
                wrong = self.kind.label_sets.undeclared(prediction, model.predictor.info.labels)
                if wrong is not None:
                    raise RuntimeError(
                        f"the predictor answered with {wrong}, which its kind does not declare"
                    )
            return [Answered(prediction, model) for prediction in predictions]

    def _count_and_log(
        self,
        items: Sequence[Any],
        answers: Sequence[Answered],
        *,
        seconds: float,
        request_id: str,
        source: str,
    ) -> None:
        now = datetime.now(UTC)
        for item, answer in zip(items, answers, strict=True):
            identity = answer.model.identity
            if source != SOURCE_VALIDATION:
                answer.model.metrics.prediction(answer.prediction, seconds=seconds)
                # A comparison counts once, in compare: there the other server's answer is known.
                if source != SOURCE_SHADOW:
                    self.kind.observe(answer.model.metrics, answer.prediction)
            if self._log.enabled:
                self._log.put(
                    LogRecord(
                        at=now,
                        text=self.kind.codec.text(item),
                        prediction=answer.prediction,
                        seconds=seconds,
                        model=identity.model,
                        version=identity.version,
                        pod=self.settings.pod_name,
                        request_id=request_id,
                        source=source,
                    )
                )
        answers[0].model.metrics.queue(self._batcher.depth)

    def _log_dropped(self, reason: str) -> None:
        if self.registry.loaded:
            self.registry.current.metrics.log_drop(reason)

    def _shadow_dropped(self, reason: str, texts: int) -> None:
        if self.registry.loaded:
            for _ in range(texts):
                self.registry.current.metrics.shadow_drop(reason)


def _sinks(settings: Settings) -> list[Sink]:
    sinks: list[Sink] = []
    if LOG_TO_STDOUT in settings.log_outputs:
        sinks.append(StreamSink())
    if LOG_TO_FILE in settings.log_outputs:
        sinks.append(
            DailyFileSink(
                settings.log_dir,
                retention_days=settings.log_retention_days,
                max_bytes=settings.log_max_file,
            )
        )
    return sinks
