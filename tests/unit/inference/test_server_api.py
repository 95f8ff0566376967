"""The HTTP interface in process: both protocols, limits, errors, reload, masking, metrics."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from inference_server.api.app import create_app
from inference_server.api.control import create_control_app
from inference_server.predictors.emotion.kind import KIND
from inference_server.service import InferenceService
from inference_server.settings import Settings
from tests.support.inference import LABELS, FakePredictor, load_fake, write_fake

TOKEN = "only for those who may"


class Api:
    """A client of an application whose model is loaded."""

    def __init__(
        self, client: httpx.AsyncClient, service: InferenceService, admin: httpx.AsyncClient
    ) -> None:
        self.client = client
        self.service = service
        self.admin = admin

    async def reload(self, artifacts: str | None = None, *, token: str | None = TOKEN) -> httpx.Response:
        """A reload on the admin port."""
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        body = {} if artifacts is None else {"artifacts": artifacts}
        return await self.admin.post("/model/reload", json=body, headers=headers)

    async def post(self, path: str, json: Any = None, **options: Any) -> httpx.Response:
        return (
            await self.client.post(path, json=json, **options)
            if json is not None
            else await self.client.post(path, **options)
        )

    async def samples(self) -> dict[str, float]:
        page = (await self.client.get("/metrics")).text
        return {
            f"{s.name}{sorted(s.labels.items())}": s.value
            for family in text_string_to_metric_families(page)
            for s in family.samples
        }

    async def value(self, name: str, **labels: str) -> float:
        page = (await self.client.get("/metrics")).text
        values = [
            s.value
            for family in text_string_to_metric_families(page)
            for s in family.samples
            if s.name == name and labels.items() <= s.labels.items()
        ]
        assert values, f"there is no series {name}{labels}"
        return sum(values)


def token_file(tmp_path: Path) -> Path:
    return tmp_path / "admin-token"


@asynccontextmanager
async def running(tmp_path: Path, *, load: bool = True, **options: Any) -> AsyncIterator[Api]:
    root = tmp_path / "models"
    directory = write_fake(root / "emotion")
    token_file(tmp_path).write_text(f"{TOKEN}\n")
    fixed = {"artifacts": directory, "models_root": root, "pod_name": "emotion-1-abc12-xyz34"}
    settings = Settings(**{**fixed, "admin_token_file": token_file(tmp_path), **options})
    app = create_app(settings, KIND, load_fake)
    service: InferenceService = app.state.service
    if load:
        await service.start()
    transport = httpx.ASGITransport(app)
    control = httpx.ASGITransport(create_control_app(service))
    async with (
        httpx.AsyncClient(transport=transport, base_url="http://server") as client,
        httpx.AsyncClient(transport=control, base_url="http://admin") as admin,
    ):
        yield Api(client, service, admin)
    await service.close()


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with running(tmp_path, max_texts=4, max_text_characters=100, max_body=2000) as running_api:
        yield running_api


async def test_one_text(api: Api) -> None:
    response = await api.post("/predict", {"text": "label=fear confidence=0.8 rule"})
    body = response.json()
    assert response.status_code == 200
    assert (body["label"], body["confidence"], body["route"], body["rule"]) == (
        "fear",
        0.8,
        "linear_head",
        "anger_frustration",
    )
    assert set(body["scores"]) == set(LABELS)
    assert (body["model"], body["version"]) == ("emotion", "1")
    assert response.headers["x-model-version"] == "1"
    assert response.headers["x-pod-name"] == "emotion-1-abc12-xyz34"
    assert body["request_id"] == response.headers["x-request-id"]
    assert body["accepted"] is True


async def test_several_texts_in_order(api: Api) -> None:
    body = (await api.post("/predict", {"texts": ["label=fear", "label=anger", "x"]})).json()
    assert [answer["label"] for answer in body["predictions"]] == ["fear", "anger", "joy"]


async def test_an_unsure_answer_is_not_accepted(api: Api) -> None:
    assert (await api.post("/predict", {"text": "confidence=0.2"})).json()["accepted"] is False
    assert (await api.post("/predict", {"text": "route=regex"})).json()["accepted"] is False
    assert await api.value("model_accepted_total", accepted="false") == 2


async def test_a_plain_request_id_is_kept_and_a_strange_one_replaced(api: Api) -> None:
    kept = await api.post("/predict", {"text": "x"}, headers={"x-request-id": "order-77.a"})
    assert kept.json()["request_id"] == "order-77.a"
    strange = await api.post("/predict", {"text": "x"}, headers={"x-request-id": "a b\tc"})
    assert len(strange.json()["request_id"]) == 32


@pytest.mark.parametrize(
    ("content", "status", "words"),
    [
        (b'{"text": "\xff"}', 400, "UTF-8"),
        (b'{"text": ', 400, "JSON"),
        (b"", 422, "schema"),
        (b'{"text": "\\ud800"}', 422, "text"),
        (b'{"text": ""}', 422, "text"),
        (b'{"text": 5}', 422, "text"),
        (b'{"texts": []}', 422, "texts"),
        (b'{"texts": ["a", null]}', 422, "texts.1"),
        (b'{"tekst": "a"}', 422, "texts"),
        (b'{"text": "a", "lang": "fr"}', 422, "lang"),
        (b'{"texts": ["a","a","a","a","a"]}', 422, "4"),
        (b'{"text": "' + b"a" * 101 + b'"}', 422, "101 characters"),
        (b"[" * 1900, 400, "JSON"),
        (b'{"text": "' + b"a" * 3000 + b'"}', 413, "2000"),
        (b'{"text": NaN}', 422, "text"),
    ],
)
async def test_bad_bodies_get_a_sentence(api: Api, content: bytes, status: int, words: str) -> None:
    response = await api.post("/predict", content=content, headers={"content-type": "application/json"})
    assert response.status_code == status, response.text
    assert words in response.text
    assert isinstance(response.json()["error"], str)
    assert await api.value("model_requests_total", code=str(status)) == 1


async def test_a_body_without_length_is_limited_too(api: Api) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(30):
            yield b"a" * 100

    response = await api.client.post("/predict", content=chunks())
    assert response.status_code == 413


async def test_the_body_is_json_whatever_its_type_says(api: Api) -> None:
    response = await api.post(
        "/predict", content=b'{"text": "x"}', headers={"content-type": "application/x-www-form-urlencoded"}
    )
    assert response.status_code == 200


async def test_a_predictor_that_raises_is_a_500_without_details(api: Api) -> None:
    response = await api.post("/predict", {"text": "raise"})
    assert response.status_code == 500
    assert "the text said so" not in response.text
    assert await api.value("model_requests_total", code="500") == 1


async def test_overload_is_a_503_with_retry_after(tmp_path: Path) -> None:
    async with running(tmp_path, workers=1, queue_size=2) as api:
        predictor = api.service.registry.current.predictor
        assert isinstance(predictor, FakePredictor)
        predictor.hold.clear()
        tasks = [asyncio.create_task(api.post("/predict", {"text": "x"})) for _ in range(6)]
        await asyncio.sleep(0.1)
        predictor.hold.set()
        responses = await asyncio.gather(*tasks)
        codes = sorted(response.status_code for response in responses)
        assert codes == [200, 200, 200, 503, 503, 503]
        refused = next(response for response in responses if response.status_code == 503)
        assert int(refused.headers["retry-after"]) >= 1


# -- Open Inference Protocol v2


def tensor(*texts: Any, **fields: Any) -> dict[str, Any]:
    return {"name": "text", "shape": [len(texts)], "datatype": "BYTES", "data": list(texts), **fields}


async def test_v2_infer(api: Api) -> None:
    request = {"id": "42", "inputs": [tensor("label=fear", "x")], "parameters": {"any": 1}}
    body = (await api.post("/v2/models/emotion/infer", request)).json()
    outputs = {output["name"]: output for output in body["outputs"]}
    assert (body["id"], body["model_name"], body["model_version"]) == ("42", "emotion", "1")
    assert outputs["label"] == {"name": "label", "datatype": "BYTES", "shape": [2], "data": ["fear", "joy"]}
    assert outputs["scores"]["shape"] == [2, 8]
    assert len(outputs["scores"]["data"]) == 16
    assert body["parameters"]["labels"] == list(LABELS)


async def test_v2_gives_only_the_outputs_asked_for_and_takes_n_by_1(api: Api) -> None:
    request = {"inputs": [tensor(["a"], ["b"], shape=[2, 1])], "outputs": [{"name": "label"}]}
    body = (await api.post("/v2/models/emotion/versions/1/infer", request)).json()
    assert [output["name"] for output in body["outputs"]] == ["label"]


@pytest.mark.parametrize(
    ("path", "request_body", "status"),
    [
        ("emotion", {"inputs": [tensor("a", shape=[3])]}, 400),
        ("emotion", {"inputs": [tensor("a", shape=[1, 1, 1])]}, 400),
        ("emotion", {"inputs": [tensor(1)]}, 400),
        ("emotion", {"inputs": [tensor("")]}, 400),
        ("emotion", {"inputs": [tensor("a", datatype="FP32")]}, 400),
        ("emotion", {"inputs": []}, 400),
        ("emotion", {"inputs": [tensor("a"), tensor("b")]}, 400),
        ("emotion", {"inputs": [tensor("a")], "outputs": [{"name": "nothing"}]}, 400),
        ("emotion", {"inputs": [tensor(*"abcde")]}, 400),
        ("emotion", {}, 400),
        ("sentiment", {"inputs": [tensor("a")]}, 404),
        ("emotion/versions/9", {"inputs": [tensor("a")]}, 404),
    ],
)
async def test_v2_errors_are_the_protocols(
    api: Api, path: str, request_body: dict[str, Any], status: int
) -> None:
    response = await api.post(f"/v2/models/{path}/infer", request_body)
    assert response.status_code == status, response.text
    assert isinstance(response.json()["error"], str)


async def test_v2_metadata(api: Api) -> None:
    assert (await api.client.get("/v2")).json()["name"] == "inference-server"
    body = (await api.client.get("/v2/models/emotion")).json()
    assert body["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": [-1]}]
    assert body["parameters"]["dimension"] == 8
    assert (await api.client.get("/v2/models/emotion/ready")).json() == {"name": "emotion", "ready": True}
    assert (await api.client.get("/v2/models/other/ready")).status_code == 404


async def test_states_of_health(tmp_path: Path) -> None:
    async with running(tmp_path, load=False) as api:

        async def codes() -> list[int]:
            paths = ("/v2/health/live", "/health/startup", "/v2/health/ready")
            return [(await api.client.get(path)).status_code for path in paths]

        assert await codes() == [200, 503, 503]
        assert (await api.post("/predict", {"text": "x"})).status_code == 503
        await api.service.start()
        assert await codes() == [200, 200, 200]
        api.service.drain()
        assert await codes() == [200, 200, 503]
        answer = await api.post("/predict", {"text": "x"})
        assert answer.status_code == 200
        assert answer.headers["connection"] == "close"


# -- reload


async def test_reload_loads_first_and_then_swaps(api: Api, tmp_path: Path) -> None:
    old = api.service.registry.current.predictor
    write_fake(tmp_path / "models" / "next", version="2")
    assert (await api.reload("next")).json()["version"] == "2"
    assert (await api.post("/predict", {"text": "x"})).json()["version"] == "2"
    assert isinstance(old, FakePredictor)
    assert old.closed
    assert await api.value("model_reloads_total", outcome="success", version="2") == 1
    assert await api.value("model_info", version="2") == 1
    assert not [
        key for key in await api.samples() if key.startswith("model_info") and "('version', '1')" in key
    ]


async def test_a_bad_artefact_leaves_the_old_one_serving(api: Api, tmp_path: Path) -> None:
    write_fake(tmp_path / "models" / "bad", broken=True)
    response = await api.reload("bad")
    assert response.status_code == 422
    assert "expected SHA-256 aaaa, but it has bbbb" in response.json()["error"]
    assert (await api.reload("missing")).status_code == 422
    assert (await api.post("/predict", {"text": "x"})).json()["version"] == "1"
    assert await api.value("model_reloads_total", outcome="failure") == 2


async def test_only_directories_below_the_root_may_be_loaded(api: Api, tmp_path: Path) -> None:
    outside = write_fake(tmp_path / "elsewhere", version="9")
    (tmp_path / "models" / "link").symlink_to(outside)
    for path in (str(outside), "../elsewhere", "link", "/etc"):
        assert (await api.reload(path)).status_code == 403
    assert await api.value("model_reloads_total", outcome="refused") == 4


async def test_the_admin_port_asks_for_the_token_whatever_the_path(api: Api, tmp_path: Path) -> None:
    for token in (None, "", "wrong", TOKEN[:-1], f"{TOKEN}x"):
        assert (await api.reload(token=token)).status_code == 403
    assert await api.value("model_reloads_total", outcome="refused") == 5
    assert (await api.reload()).status_code == 200
    for path in ("/openapi.json", "/docs", "/metrics", "/predict"):
        assert (await api.admin.get(path)).status_code == 404
    token_file(tmp_path).write_text("another token, just as long\n")  # as a mounted Secret changes
    assert (await api.reload()).status_code == 403
    assert (await api.reload(token="another token, just as long")).status_code == 200
    token_file(tmp_path).write_text("")
    assert (await api.reload(token="")).status_code == 403


async def test_clients_cannot_change_what_serves(api: Api) -> None:
    """Before, whoever reached the port could exchange the model behind the rollout's back."""
    headers = {"authorization": f"Bearer {TOKEN}"}
    assert (await api.post("/model/reload", {"artifacts": "next"}, headers=headers)).status_code == 404
    paths = (await api.client.get("/openapi.json")).json()["paths"]
    changing = {path for path, verbs in paths.items() if set(verbs) - {"get"}}
    assert changing == {
        "/predict", "/v2/models/{name}/infer", "/v2/models/{name}/versions/{version}/infer",
        "/pii/mask", "/shadow/compare",
    }, "a new path that is no GET: if it changes the server it belongs to the admin port"  # fmt: skip


async def test_two_reloads_at_once_are_not_mixed(api: Api, tmp_path: Path) -> None:
    write_fake(tmp_path / "models" / "slow", version="2", seconds=0.3)
    codes = await asyncio.gather(*(api.reload("slow") for _ in range(2)))
    assert sorted(response.status_code for response in codes) == [200, 409]


async def test_requests_during_a_reload_are_all_answered(api: Api, tmp_path: Path) -> None:
    write_fake(tmp_path / "models" / "next", version="2", seconds=0.1)
    reload = asyncio.create_task(api.reload("next"))
    versions = []
    while not reload.done():
        response = await api.post("/predict", {"text": "slow"})
        assert response.status_code == 200
        versions.append(response.json()["version"])
    versions.append((await api.post("/predict", {"text": "x"})).json()["version"])
    assert versions == sorted(versions)
    assert {versions[0], versions[-1]} == {"1", "2"}


# -- the rest


async def test_status_says_what_serves(api: Api) -> None:
    body = (await api.client.get("/model/status")).json()
    assert (body["model"], body["version"], body["encoder"], body["dimension"]) == ("emotion", "1", "fake", 8)
    assert body["pii_masking"] is True
    assert body["state"] == "serving"


async def test_masking_endpoint(api: Api) -> None:
    body = (await api.post("/pii/mask", {"text": "Mme Durand, 06 12 34 56 78"})).json()
    assert body == {"masked": "Mme [NAME], [PHONE]", "logged": "Mme [NAME], [PHONE]"}
    assert (await api.post("/pii/mask", {"text": "a" * 101})).status_code == 422


async def test_unknown_paths_and_methods(api: Api) -> None:
    assert "/nope" in (await api.client.get("/nope")).json()["error"]
    response = await api.client.get("/predict")
    assert response.status_code == 405
    assert response.headers["allow"] == "POST"


async def test_added_latency_is_honest_latency(tmp_path: Path) -> None:
    async with running(tmp_path, added_latency=0.15) as api:
        body = (await api.post("/predict", {"text": "x"})).json()
        assert body["latency_ms"] >= 150
        assert await api.value("model_prediction_seconds_sum") >= 0.15
        assert (await api.client.get("/model/status")).json()["added_latency_ms"] == 150


async def test_the_version_can_be_named_by_the_environment(tmp_path: Path) -> None:
    async with running(tmp_path, version="2.4.2") as api:
        assert (await api.post("/predict", {"text": "x"})).json()["version"] == "2.4.2"
        assert await api.value("model_info", version="2.4.2") == 1
