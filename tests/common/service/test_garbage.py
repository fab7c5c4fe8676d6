"""What a request needed is freed with its answer: cycles would cost a search for garbage in every turn of the loop."""

import os
from collections.abc import Iterator

import pytest

from tests.support.samples import PNG, SEVEN_PIXELS
from tests.support.service_process import Server, serving

REQUESTS = 50
TENSOR = {"name": "features", "shape": [1, 64], "datatype": "FP32", "data": SEVEN_PIXELS}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving("tests.support.fastapi_apps:with_garbage_count") as server:
        yield server


@pytest.mark.parametrize(
    ("path", "body"),
    [("/predict", {"pixels": SEVEN_PIXELS}), ("/v2/models/mlp/infer", {"inputs": [TENSOR]})],
)
def test_a_request_leaves_nothing_to_the_garbage_collector(server: Server, path: str, body: object) -> None:
    server.client.post(path, json=body).raise_for_status()
    server.client.get("/garbage")
    for _ in range(REQUESTS):
        server.client.post(path, json=body).raise_for_status()
    assert server.client.get("/garbage").json() < REQUESTS


JSON = {"Content-Type": "application/json"}
LONG = 10_000_000


@pytest.mark.parametrize(
    ("path", "body", "headers", "status"),
    [
        pytest.param("/predict", b"\xff\xd8\xff" + os.urandom(LONG), PNG, 400, id="no picture"),
        pytest.param("/predict", b"x" * LONG, JSON | {"Content-Encoding": "gzip"}, 400, id="no gzip"),
        pytest.param("/predict", b"[%s 1]" % (b" " * LONG), JSON, 422, id="no picture in JSON"),
        pytest.param("/v2/models/mlp/infer", b'{"inputs":[' + b" " * LONG, JSON, 400, id="v2 no JSON"),
    ],
)
def test_a_refused_request_leaves_nothing_of_its_body_in_memory(
    server: Server, path: str, body: bytes, headers: dict[str, str], status: int
) -> None:
    def refuse(times: int) -> float:
        for _ in range(times):
            assert server.client.post(path, content=body, headers=headers).status_code == status
        return server.memory_mb()

    first = refuse(3)
    assert refuse(20) < first + 100  # of 200
