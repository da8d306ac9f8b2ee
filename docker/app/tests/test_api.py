"""The endpoints on a real socket, with both clients' objects faked."""

import asyncio
import time
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.exceptions import HTTPException

from app.keys import SETS
from app.limits import BodyLimit
from app.records import sample
from app.settings import Settings
from app.stores import create
from app.stores.base import NEVER_TRIED
from app.stores.official import OfficialStore
from conftest import Answer, Get, serve
from fakes import FakeOfficial, Server

CLIENTS = ("official", "py-async")
MODES = ("single", "gather", "merge_gather")

# What the weights of seed 42 make of the sample's first ads, on whatever interpreter.
GOLDEN = {"ad-000000000": 0.728268, "ad-000000001": 0.74145, "ad-000000199": 0.760902}


def answer_when(get: Get, path: str, wanted: Callable[[Answer], bool]) -> Answer:
    # The limit only ends a test that has failed.
    deadline = time.monotonic() + 120
    while not wanted(answer := get(path)):
        assert time.monotonic() < deadline, answer.body
        time.sleep(0.02)
    return answer


def reached(get: Get) -> None:
    answer_when(get, "/ready", lambda answer: answer.status == 200)


@pytest.mark.parametrize("get", ["0", "2"], indirect=True, ids=["in-loop", "threads"])
def test_same_predictions_whichever_client_and_mode(get: Get) -> None:
    reached(get)
    body = sample().model_dump(by_alias=True)
    answers = [get(f"/predict/{client}/sample?mode={mode}") for client, mode in product(CLIENTS, MODES)]
    answers += [get(f"/predict/{client}?mode={mode}", body) for client, mode in product(CLIENTS, MODES)]
    assert {answer.status for answer in answers} == {200}
    first = answers[0].scores
    assert len(first) == 200
    assert len(set(first.values())) > 150
    assert all(answer.scores == first for answer in answers)
    assert all(answer.json["recordsFound"] == answer.json["recordsTotal"] == 1800 for answer in answers)
    assert {ad: first[ad] for ad in GOLDEN} == pytest.approx(GOLDEN, abs=1e-5)


@pytest.mark.parametrize("path", ["/predict/official", "/predict/py-async"])
def test_a_body_that_is_too_long_is_refused(get: Get, path: str) -> None:
    reached(get)
    answer = get(path, announced=1_048_577)
    assert (answer.status, answer.json["detail"]) == (413, "the body is longer than 1048576 bytes")
    # The process still answers, and what has the right length is read.
    assert get(path, sample().model_dump(by_alias=True)).status == 200
    assert get(path, {"text": "x" * 1_000_000}).status == 422


def test_a_body_of_unknown_length_is_refused_when_it_is_too_long() -> None:
    """Through the middleware alone: a client that is still sending may not see the answer."""
    received = 0

    async def receive() -> dict[str, Any]:
        nonlocal received
        received += 1
        return {"type": "http.request", "body": b"x" * 1000, "more_body": True}

    async def read_all(_scope: Any, receive: Any, _send: Any) -> None:  # noqa: ANN401
        while True:
            await receive()

    async def send(_message: Any) -> None:  # noqa: ANN401
        raise AssertionError

    limit = BodyLimit(read_all, 10_000)
    with pytest.raises(HTTPException) as caught:
        asyncio.run(limit({"type": "http", "headers": []}, receive, send))
    assert (caught.value.status_code, received) == (413, 11)


def test_fan_out_and_conversion_of_each_mode(get: Get, server: Server) -> None:
    reached(get)
    for client, mode in product(CLIENTS, MODES):
        server.batches.clear()
        server.conversions.clear()
        assert get(f"/predict/{client}/sample?mode={mode}").status == 200
        sizes = [len(keys) for keys in server.batches]
        assert sizes == ([1800] if mode == "single" else [200] * 9), (client, mode)
        lazily = {"single": ["to_list"], "gather": ["to_dict"] * 9, "merge_gather": ["merge_to_dict"]}
        assert server.conversions == (lazily[mode] if client == "py-async" else []), mode


def test_every_set_counts(get: Get) -> None:
    reached(get)
    before: dict[str, float] = {}
    for number in range(1, len(SETS) + 1):
        answer = get(f"/predict/py-async/sample?num_sets={number}")
        assert answer.json["recordsTotal"] == 200 * number
        assert answer.scores != before
        before = answer.scores


def test_batch_size_and_skipped_inference(get: Get) -> None:
    reached(get)
    whole = get("/predict/official/sample").scores
    part = get("/predict/official/sample?batch_size=7")
    assert part.json["recordsTotal"] == 63
    assert list(part.scores) == list(whole)[:7]
    assert part.scores == pytest.approx({ad: whole[ad] for ad in part.scores}, abs=1e-5)
    skipped = get("/predict/official/sample?skip_inference=1")
    assert set(skipped.scores.values()) == {0.0}
    assert skipped.json["recordsFound"] == 1800


def test_bad_queries(get: Get) -> None:
    bad = ["mode=other", "num_sets=0", "num_sets=10", "batch_size=0", "batch_size=1001", "nonsense=1"]
    assert [get(f"/predict/official/sample?{query}").status for query in bad] == [422] * len(bad)
    assert get("/predict/other/sample").status == 422


def test_bad_bodies(get: Get) -> None:
    good = sample(2).model_dump(by_alias=True)
    one = good["candidateAds"][0]
    bad = [
        {},
        {**good, "candidateAds": []},
        {**good, "candidateAds": [one] * 1001},
        {**good, "candidateAds": [{**one, "adId": ""}]},
        {**good, "candidateAds": [{**one, "adId": "x" * 65}]},
        {**good, "candidateAds": [{**one, "adId": 7}]},
        {**good, "surplus": 1},
    ]
    assert [get("/predict/py-async", body).status for body in bad] == [422] * len(bad)


def test_missing_records_count_as_zero_for_both(get: Get, server: Server) -> None:
    reached(get)
    whole = get("/predict/official/sample").scores
    del server.records["test", "ad", "ad-000000003"]
    # Of the two sets that share this user key, one has no such record any more.
    del server.records["test", "product", "prd-000000005"]
    answers = [get(f"/predict/{client}/sample?mode={mode}") for client, mode in product(CLIENTS, MODES)]
    assert {answer.json["recordsFound"] for answer in answers} == {1798}
    assert all(answer.scores == answers[0].scores for answer in answers)
    changed = {ad for ad, score in answers[0].scores.items() if abs(score - whole[ad]) > 1e-4}
    assert changed == {"ad-000000003", "ad-000000005"}


def test_fewer_answers_than_keys(get: Get, server: Server) -> None:
    reached(get)
    server.silent = True
    answer = get("/predict/official/sample")
    assert answer.status == 503
    assert "0 of 1800 keys were answered" in answer.json["detail"]
    assert get("/ready").status == 503


@pytest.mark.parametrize("client", CLIENTS)
def test_lost_server(get: Get, server: Server, client: str) -> None:
    reached(get)
    server.lost = True
    for mode in MODES:
        answer = get(f"/predict/{client}/sample?mode={mode}")
        assert answer.status == 503
        assert answer.json["detail"] == "the fake server is gone"
    assert get("/ready").status == 503
    assert get("/health").status == 200
    server.lost = False
    assert get(f"/predict/{client}/sample").status == 200


def test_failed_records_are_not_taken_for_missing_ones(get: Get, server: Server) -> None:
    reached(get)
    server.result = 9
    for client, mode in product(CLIENTS, MODES):
        answer = get(f"/predict/{client}/sample?mode={mode}")
        assert answer.status == 503
        assert "result code 9" in answer.json["detail"]


def test_ready_names_sets_without_data(get: Get, server: Server) -> None:
    reached(get)
    del server.records["test", "user", "usr-000000000"]
    answer = get("/ready")
    assert answer.status == 503
    assert answer.json["clients"]["official"] == "no data in: user; run load-data"


def test_metrics_of_the_report(get: Get) -> None:
    reached(get)
    get("/predict/official/sample?mode=gather")
    get("/predict/official/sample?mode=merge_gather&num_sets=1")
    text = get("/metrics").body
    assert len(list(text_string_to_metric_families(text))) > 8
    for name in (
        "predict_duration_seconds",
        "aerospike_batch_read_all_duration_seconds",
        "dlrm_inference_duration_seconds",
    ):
        assert f'{name}_bucket{{client_type="official",le="+Inf",mode="gather"}}' in text
    assert 'predict_requests_total{client_type="official",mode="gather",status="success"}' in text


def test_errors_are_in_the_metrics(get: Get, server: Server) -> None:
    reached(get)
    counter = 'predict_requests_total{client_type="py-async",mode="single",status="error"}'

    def count() -> float:
        return sum(float(line.split()[1]) for line in get("/metrics").body.splitlines() if counter in line)

    before = count()
    server.lost = True
    get("/predict/py-async/sample")
    assert count() == before + 1


def test_a_client_that_is_not_installed() -> None:
    """The real stores, in an environment where a client may or may not be."""
    settings = Settings.read({"AEROSPIKE_HOSTS": "127.0.0.1:1"})
    stores = create(settings)
    for store in stores:
        store.not_installed = f"{store.name} is not here"
    with serve(stores, settings) as get:
        for client in CLIENTS:
            answer = get(f"/predict/{client}/sample")
            assert (answer.status, answer.json["detail"]) == (503, f"{client} is not here")
        # Nothing can ever be served: not ready.
        assert get("/ready").status == 503


def test_a_mistake_in_connecting_is_told() -> None:
    def connect() -> FakeOfficial:
        raise TypeError("no such option")

    settings = Settings.read({})
    with serve([OfficialStore(settings, connect)], settings) as get:
        # The first attempt may not have been made yet.
        path = "/predict/official/sample"
        answer = answer_when(get, path, lambda answer: NEVER_TRIED not in answer.json["detail"])
        assert answer.status == 503
        assert "TypeError: no such option" in answer.json["detail"]


def test_no_server_at_the_start() -> None:
    settings = Settings.read({"AEROSPIKE_HOSTS": "127.0.0.1:1", "AEROSPIKE_TIMEOUT_MS": "200"})
    with serve(create(settings), settings) as get:
        assert get("/predict/py-async/sample").status == 503
        assert get("/predict/official/sample").status == 503
        assert get("/health").json == {"status": "ok"}
