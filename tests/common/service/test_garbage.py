"""What a request needed is freed with its answer: cycles would cost a search for garbage in every turn of the loop."""

from collections.abc import Iterator

import pytest

from tests.support.samples import SEVEN_PIXELS
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
