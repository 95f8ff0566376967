"""All of the kind: artefacts, predictor, path, metrics, suite, training."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click
from fastapi import APIRouter, BackgroundTasks, Request
from pydantic import BaseModel

from inference_server.api.requests import ERROR_RESPONSES, request_id
from inference_server.artifacts import Manifest, write_manifest
from inference_server.errors import InvalidInputError
from inference_server.predictors.base import ModelInfo, Prediction
from inference_server.predictors.kinds import Family, ItemCodec, LabelSets, PredictorKind
from inference_server.schemas import Strict
from inference_server.service import InferenceService, request_source
from inference_server.validation.client import Client
from inference_server.validation.suites import Result, Suite, result


class Parity:
    """Its artefact says what it calls even numbers; 13 breaks its promise to answer with known labels."""

    def __init__(self, directory: Path, manifest: Manifest) -> None:
        self.name = manifest.name
        self.version = manifest.version
        self.info = ModelInfo(
            artifact_sha256=manifest.sha256,
            config_sha256=manifest.config_sha256,
            encoder="",
            dimension=1,
            labels=manifest.labels,
        )
        self.names = json.loads((directory / "names.json").read_text())

    def predict(self, items: Sequence[int]) -> list[Prediction]:
        return [
            Prediction(
                label="unlucky" if item == 13 else self.names[item % 2],
                confidence=1.0,
                route="digits" if item >= 10 else "table",
                scores={},
                detail=item * item,
            )
            for item in items
        ]

    def close(self) -> None:
        pass


class Numbers(Strict):
    numbers: list[int]


class Answer(BaseModel):
    labels: list[str]
    squares: list[int]


def decode(text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise InvalidInputError(f"{text!r} is no whole number.") from error


def router(service: InferenceService) -> APIRouter:
    routes = APIRouter()

    @routes.post("/parity", responses=ERROR_RESPONSES)
    async def parity(body: Numbers, request: Request, background: BackgroundTasks) -> Answer:
        """Even or odd."""
        outcome = await service.predict(
            body.numbers, request_id=request_id(request), source=request_source(request.headers)
        )
        background.add_task(service.mirror, outcome)
        for number in body.numbers:
            service.registry.current.metrics.count("toy_signs", sign="minus" if number < 0 else "plus")
        return Answer(
            labels=[p.label for p in outcome.predictions], squares=[p.detail for p in outcome.predictions]
        )

    return routes


def small_numbers(client: Client, *, suite: str, threshold: float) -> Result:
    answer = client.post("/parity", {"numbers": [1, 2]})
    wrong = [label for label, right in zip(answer["labels"], ["odd", "even"], strict=True) if label != right]
    return result(suite, threshold, 2, [{"seen": label} for label in wrong])


@click.command("parity")
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option("--even", default="even")
@click.option("--version", default="1.0")
def train(out: Path, even: str, version: str) -> None:
    """Train the toy."""
    out.mkdir(parents=True)
    (out / "names.json").write_text(json.dumps([even, "odd"]))
    labels = (even, "odd")
    write_manifest(
        out,
        Manifest(
            kind="parity", name="toy", version=version, labels=labels, files={}, config={}, config_sha256=""
        ),
    )


def examples() -> tuple[str, list[bytes]]:
    return "/parity", [b'{"numbers": [1]}', b'{"numbers": [2, 20]}']


SUITES = {"small-numbers": Suite(small_numbers, 1.0, "One and two.")}
KIND = PredictorKind(
    name="parity",
    summary="Even or odd.",
    load=Parity,
    router=router,
    label_sets=LabelSets(
        routes=("table", "digits"),
        families=(
            Family(
                name="toy_signs",
                type="counter",
                text="Numbers by sign.",
                labels={"sign": ("plus", "minus")},
            ),
        ),
    ),
    prediction_paths=frozenset({"/parity"}),
    items="numbers",
    warm_up=(1,),
    codec=ItemCodec(encode=str, decode=decode, text=str),
    examples="tests.support.toy.kind:examples",
    suites="tests.support.toy.kind:SUITES",
    train="tests.support.toy.kind:train",
)
