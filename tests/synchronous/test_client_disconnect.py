"""A caller who closes the connection ends the call, all the way down to the predictor's queue."""

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from tests.support.http.raw_http import raw_post
from tests.support.models.onnx_models import slow_pixels, slow_reader
from tests.support.processes import wait_until
from tests.support.stack import Stack, synchronous_stack
from tests.support.synchronous_letters import post_letter

pytestmark = pytest.mark.full
SLOW_SECONDS = 1.2
LONG = {"X-Request-Timeout-Ms": "20000"}


@pytest.fixture(scope="module", params=["http", "grpc"])
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A predictor that reads one picture at a time, and takes its time; the proxy asks it over REST or gRPC."""
    model = slow_reader(tmp_path_factory.mktemp("slow") / "mlp.onnx")
    predictor: dict[str, object] = {"model_uri": model, "batching": "on", "model_threads": 1, "max_batch_rows": 1}
    with synchronous_stack(request.param, predictor=predictor) as stack:
        yield stack


@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
def test_client_disconnect_cancels_the_call_down_to_the_predictors_queue(stack: Stack, accept: str) -> None:
    """Two letters are before it: one is read, one waits. They are read, and that of who left is not."""
    proxy, predictor, trace = stack.front, stack.servers["predictor"], uuid4().hex
    read, left = predictor.metric("batch_rows_sum"), proxy.metric("backend_calls_total", outcome="cancelled")
    letter = raw_post(
        "/letters", slow_pixels(SLOW_SECONDS), **LONG, Accept=accept, traceparent=f"00-{trace}-00f067aa0ba902b7-01"
    )
    with ThreadPoolExecutor(2) as threads:
        letters = [threads.submit(post_letter, proxy, slow_pixels(SLOW_SECONDS), **LONG) for _ in range(2)]
        wait_until(lambda: predictor.metric("queue_rows") == 1)
        with socket.create_connection(("127.0.0.1", proxy.port)) as connection:
            connection.sendall(letter)
            wait_until(lambda: predictor.metric("queue_rows") == 2)
        (line,) = proxy.logged(trace_id=trace)
        assert (line["status"], "letter_id" in line, "bin" in line) == (499, True, False)
        assert [future.result().json()["bin"] for future in letters] == ["7", "7"]
    (line,) = predictor.logged(trace_id=trace)
    assert line["status"] == 499
    assert predictor.metric("batch_rows_sum") == read + 2
    assert proxy.metric("backend_calls_total", outcome="cancelled") == left + 1
    assert proxy.metric("http_requests_total", path="/letters", status="499") == left + 1
