"""HTTP paths of the suggestion system."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sqlite3
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, BackgroundTasks, FastAPI, Query, Request, Response

from inference_server.api.requests import ERROR_RESPONSES, request_id
from inference_server.errors import InvalidInputError, OverloadedError
from inference_server.predictors.base import Prediction
from inference_server.predictors.suggestions.predictor import ROUTE_MODEL, Both, SuggestionPredictor
from inference_server.predictors.suggestions.schemas import (
    Candidate,
    FeedbackAnswer,
    FeedbackRequest,
    SuggestAnswer,
    Suggestion,
    SuggestRequest,
    ThresholdsAnswer,
)
from inference_server.predictors.suggestions.store import Store, as_csv, as_lines, masked
from inference_server.predictors.suggestions.transactions import Transaction
from inference_server.schemas import ErrorBody
from inference_server.service import SOURCE_VALIDATION, InferenceService, Outcome, request_source

logger = logging.getLogger(__name__)

STORE_VARIABLE: Final = "SUGGEST_STORE"
FEEDBACK: Final = "model_feedback"
_NOT_READY: Final[dict[int | str, dict[str, Any]]] = {
    503: {"model": ErrorBody, "description": "No model is loaded yet."}
}
_LINES: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {"application/x-ndjson": {}, "text/csv": {}}, "description": "One row a line."}
}
_INVALID: Final[dict[int | str, dict[str, Any]]] = {
    400: {"model": ErrorBody, "description": "The body is not JSON in UTF-8."},
    422: {"model": ErrorBody, "description": "The request does not fit its schema or its limits."},
}


def router(service: InferenceService) -> APIRouter:
    """Return the paths of this module; the store is opened now, so that a start without it is refused."""
    store = Store(os.environ.get(STORE_VARIABLE, "").strip() or ":memory:")

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:  # noqa: ARG001 - the framework's signature
        yield
        await asyncio.to_thread(store.close)

    routes = APIRouter(tags=["suggest"], lifespan=lifespan)
    _add_suggest(routes, service, store)
    _add_feedback(routes, service, store)
    _add_thresholds(routes, service)
    service.admin_routers.append(_exports(store))
    return routes


def _add_suggest(routes: APIRouter, service: InferenceService, store: Store) -> None:
    @routes.post("/suggest", responses=ERROR_RESPONSES)
    async def suggest(
        body: SuggestRequest, request: Request, response: Response, background: BackgroundTasks
    ) -> SuggestAnswer:
        """Suggest a category for each transaction of a user."""
        _check_count(body.transactions, service)
        items = [item.transaction(body.user_id) for item in body.transactions]
        outcome = await service.predict(
            items, request_id=request_id(request), source=request_source(request.headers)
        )
        background.add_task(service.mirror, outcome)
        if outcome.source != SOURCE_VALIDATION:
            background.add_task(_keep_disagreements, store, outcome)
        response.headers["x-model-version"] = outcome.identity.version
        response.headers["x-request-id"] = outcome.request_id
        return SuggestAnswer.model_construct(
            model=outcome.identity.model,
            version=outcome.identity.version,
            request_id=outcome.request_id,
            latency_ms=round(outcome.seconds * 1000, 3),
            suggestions=[
                _out(item, prediction, outcome.identity.version)
                for item, prediction in zip(items, outcome.predictions, strict=True)
            ],
        )


def _check_count(items: Sequence[Any], service: InferenceService) -> None:
    limit = service.settings.max_texts
    if len(items) > limit:
        raise InvalidInputError(f"Expected 1 to {limit} transactions, but there are {len(items)}.")


def _out(item: Transaction, prediction: Prediction, version: str) -> Suggestion:
    both: Both = prediction.detail
    return Suggestion.model_construct(
        id=item.id,
        label=prediction.label,
        confidence=prediction.confidence,
        source="model" if prediction.route == ROUTE_MODEL else "rule",
        reason=both.reason,
        rule=both.rule.rule,
        candidates=[Candidate.model_construct(label=label, confidence=p) for label, p in both.candidates],
        model_id=version,
    )


async def _keep_disagreements(store: Store, outcome: Outcome) -> None:
    """Keep what rules and model disagree on, after the client has its answer; a full disk loses only this."""
    rows = [
        (
            masked(item.id),
            masked(item.text),
            prediction.detail.rule.category,
            prediction.detail.rule.rule,
            prediction.detail.model_label,
            round(prediction.detail.model_confidence, 4),
            outcome.identity.version,
        )
        for item, prediction in zip(outcome.items, outcome.predictions, strict=True)
        if prediction.detail.agree == "false"
    ]
    if rows:
        try:
            await asyncio.to_thread(store.add, "disagreements", rows)
        except (sqlite3.Error, UnicodeError) as error:
            logger.warning("%d disagreements could not be kept: %s.", len(rows), error)


def _add_feedback(routes: APIRouter, service: InferenceService, store: Store) -> None:
    @routes.post("/feedback", responses={**_INVALID, **_NOT_READY})
    async def feedback(body: FeedbackRequest) -> FeedbackAnswer:
        """Accept or reject suggestions; kept for training, counted by source and verdict."""
        current = service.registry.current
        _check_labels(body, current.predictor.info.labels)
        rows = [
            (
                *(masked(item.id), item.label, item.source, item.verdict, item.right_label),
                masked(item.description),
            )
            for item in body.items
        ]
        try:
            await asyncio.to_thread(store.add, "feedback", rows)
        except sqlite3.Error as error:
            raise OverloadedError(f"The feedback could not be kept: {error}.", retry_after=10.0) from error
        for item in body.items:
            current.metrics.count(FEEDBACK, source=item.source, verdict=item.verdict)
        return FeedbackAnswer(kept=len(rows))


def _check_labels(body: FeedbackRequest, labels: Sequence[str]) -> None:
    """Refuse labels that nothing here answers: they would be stored unmasked and teach nothing."""
    for place, item in enumerate(body.items):
        for name, label in (("label", item.label), ("right_label", item.right_label)):
            if label and label not in labels:
                raise InvalidInputError(
                    f"Expected a label of this server ({', '.join(labels)}) in {name} of item {place}, "
                    "but it is another one."
                )


def _add_thresholds(routes: APIRouter, service: InferenceService) -> None:
    @routes.get("/thresholds", responses=_NOT_READY)
    async def thresholds() -> ThresholdsAnswer:
        """Confidence from which the model's answer is used, by label; below it the rules answer."""
        predictor = service.registry.current.predictor
        assert isinstance(predictor, SuggestionPredictor)
        found = dict(predictor.serving.thresholds)
        default = found.pop("default")
        return ThresholdsAnswer(thresholds=found, default=default)


def _exports(store: Store) -> APIRouter:
    """Return the paths that show what users sent: for the admin port."""
    routes = APIRouter(tags=["suggest"])

    # No coroutine: reading and writing 50,000 rows takes a thread, not the event loop that answers clients.
    @routes.get("/suggest/{table}", responses={**_INVALID, **_LINES}, response_class=Response)
    def export(
        table: Literal["disagreements", "feedback"],
        form: Annotated[Literal["jsonl", "csv"], Query(alias="format")] = "jsonl",
        limit: Annotated[int, Query(ge=1, le=50_000)] = 1000,
    ) -> Response:
        """Return what was kept, the newest first, texts masked: as JSON Lines or CSV."""
        rows = store.newest(table, limit)
        if form == "csv":
            return Response(as_csv(rows, table), media_type="text/csv")
        return Response(as_lines(rows), media_type="application/x-ndjson")

    return routes
