"""The grid of the past, and by which clock its times are, without a server."""

from __future__ import annotations

import json
import threading
import time
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

import pytest

from modelrollout.prometheus import CriterionQuery
from modelrollout.prometheus.client import RangeQuery
from modelrollout.prometheus.history import fetch_history
from modelrollout.prometheus.query_union import ID_LABEL
from tests.support.queries import criterion, evaluator, rollout

END = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)


class _Recorded:
    """A client whose server's clock is `ahead` of ours: at each of its times the value is that time."""

    def __init__(self) -> None:
        self.spans: list[RangeQuery] = []

    def query_range(self, promql: str, span: RangeQuery, *, legs: int = 1) -> list[dict[str, Any]]:
        self.spans.append(span)
        times = [span.start + n * span.step for n in range(round((span.end - span.start) / span.step) + 1)]
        return [{"metric": {ID_LABEL: "v"}, "values": [[at, repr(at)] for at in times]}]


@pytest.mark.parametrize("ahead", [0.0, 90.0, -3600.5])
def test_the_past_is_asked_for_by_the_servers_clock_and_told_by_ours(ahead: float) -> None:
    client = _Recorded()
    query = CriterionQuery(name="c", value="q", for_seconds=60.0)
    points = fetch_history(client, query, END, ahead)  # type: ignore[arg-type]
    (span,) = client.spans
    assert span.end == pytest.approx(END.timestamp() + ahead)
    assert span.start == pytest.approx(END.timestamp() + ahead - 60)
    assert abs(points[-1].at - END) < timedelta(milliseconds=2)
    assert abs(points[0].at - (END - timedelta(seconds=60))) < timedelta(milliseconds=2)
    for point in points:  # the value that was there at that instant, whatever either clock called it
        assert point.value == pytest.approx(point.at.timestamp() + ahead, abs=0.002)


class _Skewed(BaseHTTPRequestHandler):
    """Answers every question with its own time, which is 90 s ahead, under every id that is asked for."""

    ahead = 90.0
    asked: list[dict[str, list[str]]] = []  # noqa: RUF012 - of the one test that uses it

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.asked.append(form)
        now = time.time() + self.ahead
        ids = [part.split('"')[0] for part in form["query"][0].split(f'"{ID_LABEL}", "')[1:]]
        key = "values" if "start" in form else "value"
        seen: Any = [[float(form["end"][0]), "9"]] if key == "values" else [now, repr(now)]
        body = json.dumps(
            {
                "status": "success",
                "data": {"result": [{"metric": {ID_LABEL: id_}, key: seen} for id_ in ids]},
            }
        ).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the base class
        pass


async def test_the_difference_of_the_clocks_that_an_answer_shows_is_used_for_its_past() -> None:
    _Skewed.asked.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Skewed)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    queries = rollout("ns", criterion("c", query="q", **{"for": "10s"}))
    try:
        async with evaluator(f"http://127.0.0.1:{server.server_port}") as asking:
            answer = await asking.evaluate(queries, patience=0)
            sample = (await asking.with_history(queries, answer.samples, ["c"]))["c"]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert [form["partial_response"] for form in _Skewed.asked] == [
        ["false"],
        ["false"],
    ]  # whole answers only
    assert float(_Skewed.asked[-1]["end"][0]) == pytest.approx(answer.at.timestamp() + _Skewed.ahead, abs=2)
    assert sample.history is not None
    assert (sample.history[-1].value, abs(sample.history[-1].at - answer.at) < timedelta(seconds=2)) == (
        9,
        True,
    )
