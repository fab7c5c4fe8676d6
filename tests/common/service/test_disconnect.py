"""A client that leaves, behind a user's `BaseHTTPMiddleware`: it ends the work on every pattern's hot path.

Starlette's middleware hands on a `receive` of its own, which must not be driven by hand.
"""

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from uuid import uuid4

import pytest

from tests.support.http.raw_http import raw_post
from tests.support.models.onnx_models import slow_pixels, slow_reader
from tests.support.processes import wait_until
from tests.support.redis_servers import RedisServer
from tests.support.samples import SEVEN_PIXELS
from tests.support.service_process import Server, serving, starting

full = partial(pytest.param, marks=pytest.mark.full)
WITH_MIDDLEWARE = "tests.support.fastapi_apps:with_http_middleware"
DIGIT = {"pixels": SEVEN_PIXELS}
LONG = {"X-Request-Timeout-Ms": "20000"}
SLOW_SECONDS = 1.0


@contextmanager
def silent_backend() -> Iterator[int]:
    """The port of a server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        yield listener.getsockname()[1]


@contextmanager
def leaving(server: Server, path: str, body: object) -> Iterator[str]:
    """A request whose client closes the connection at the end of the block; gives its trace id."""
    trace = uuid4().hex
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(raw_post(path, body, traceparent=f"00-{trace}-00f067aa0ba902b7-01", **LONG))
        yield trace


@pytest.mark.parametrize("path", ["/predict", pytest.param("/v2/models/mlp/infer", marks=pytest.mark.full)])
def test_the_model_does_not_run_for_a_client_that_left(path: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """One request runs, one whose client leaves waits behind it, and the third is answered."""
    model = slow_reader(tmp_path_factory.mktemp("slow") / "mlp.onnx")
    slow = slow_pixels(SLOW_SECONDS)
    tensor = {"name": "features", "shape": [1, 64], "datatype": "FP32", "data": slow["pixels"]}
    body = slow if path == "/predict" else {"inputs": [tensor]}
    with serving(WITH_MIDDLEWARE, model_uri=model, batching="on", model_threads=1, max_batch_rows=1) as server:
        rows = server.metric("batch_rows_sum")
        with ThreadPoolExecutor(2) as threads:
            first = threads.submit(server.client.post, path, json=body, headers=LONG)
            wait_until(lambda: server.metric("http_requests_total", path="/metrics") > 0)
            with leaving(server, path, body) as trace:
                wait_until(lambda: server.metric("queue_rows") == 1)
                third = threads.submit(server.client.post, path, json=body, headers=LONG)
                wait_until(lambda: server.metric("queue_rows") == 2)
            for answer in (first.result(), third.result()):
                assert (answer.status_code, answer.headers["x-middleware"]) == (200, "yes")
        (line,) = server.logged(trace_id=trace, path=path)
        assert line["status"] == 499
        assert server.metric("batch_rows_sum") == rows + 2


@pytest.mark.parametrize(
    ("pattern", "path", "urls"),
    [
        ("synchronous", "/letters", {"predictor_url": "http://127.0.0.1:{}/v2/models/mlp"}),
        full("microservice_vertical", "/predict", {"quality_url": "http://127.0.0.1:{}/v2/models/quality"}),
        full("microservice_horizontal", "/predict", {"members": "http://127.0.0.1:{}/v2/models/mlp", "quorum": 1}),
        full("microservice_horizontal", "/predict/mlp", {"members": "http://127.0.0.1:{}/v2/models/mlp", "quorum": 1}),
    ],
)
def test_a_proxys_call_ends_when_its_client_leaves(pattern: str, path: str, urls: dict[str, object]) -> None:
    with silent_backend() as port:
        settings = {name: str(value).format(port) for name, value in urls.items()}
        with starting(WITH_MIDDLEWARE, pattern_app=f"{pattern}.proxy:create_app", **settings) as server:
            wait_until(lambda: is_live(server))
            with leaving(server, path, DIGIT) as trace, pytest.raises(AssertionError):
                wait_until(lambda: [line for line in server.log_lines() if line.get("trace_id") == trace], 0.5)
            (line,) = server.logged(trace_id=trace, status=499)
            assert line["ms"] < 10_000, "it went on until its deadline"
            assert server.get("/health/live").headers["x-middleware"] == "yes"


@pytest.mark.redis_server
def test_a_client_that_leaves_while_it_waits_for_a_job_leaves_the_proxy_well(valkey: RedisServer) -> None:
    settings = {"pattern_app": "asynchronous.proxy:create_app", "redis_url": valkey.url}
    with serving(WITH_MIDDLEWARE, **settings) as server:
        job = server.client.post("/jobs", json=DIGIT)
        assert (job.status_code, job.headers["x-middleware"]) == (202, "yes")
        waiting = f"GET {job.headers['location']}?wait=20 HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(waiting)
        assert server.get(job.headers["location"]).json()["status"] == "queued"
        assert not [line for line in server.log_lines() if line.get("level") == "ERROR"]


def is_live(server: Server) -> bool:
    try:
        return server.get("/health/live").status_code == 200
    except Exception:
        return False
