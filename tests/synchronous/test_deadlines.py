"""The caller's deadline on its way down, and the breaker, which spares callers the wait (S3)."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler
from time import monotonic
from typing import Any, NoReturn

import grpc
import pytest

from tests.support.processes import answers, wait_until
from tests.support.samples import SEVEN_PIXELS
from tests.support.service_process import web_server
from tests.support.stack import stack_of
from tests.support.synchronous_letters import Flow, falls_back, hung, is_back, sort_seven

pytestmark = pytest.mark.full
Receiver = tuple[str, list[float]]
"""The address of a predictor that is never well, and for each time that it is asked the milliseconds that it has."""


@contextmanager
def timeouts_over_rest() -> Iterator[Receiver]:
    timeouts: list[float] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            timeouts.append(float(self.headers["X-Request-Timeout-Ms"]))
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(503)
            self.end_headers()

    with web_server(Handler) as url:
        yield url, timeouts


@contextmanager
def timeouts_over_grpc() -> Iterator[Receiver]:
    timeouts: list[float] = []

    def infer(request: bytes, context: Any) -> NoReturn:
        timeouts.append(context.time_remaining() * 1e3)
        context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
        raise AssertionError

    handlers: dict[str, Any] = {"ModelInfer": grpc.unary_unary_rpc_method_handler(infer)}
    server = grpc.server(ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("inference.GRPCInferenceService", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"grpc://127.0.0.1:{port}", timeouts
    finally:
        server.stop(None).wait(10)


@pytest.mark.parametrize("receiver", [timeouts_over_rest, timeouts_over_grpc], ids=["http", "grpc"])
def test_predictor_gets_what_is_left_of_the_callers_deadline(
    receiver: Callable[[], AbstractContextManager[Receiver]],
) -> None:
    """Less than the caller gave, and less again in the retry (gRPC rounds it, to within 3 %)."""
    with receiver() as (url, timeouts), stack_of("synchronous") as stack:
        proxy = stack.launch("synchronous", predictor_url=f"{url}/v2/models/mlp")
        wait_until(partial(answers, f"{proxy.url}/health/live"))
        falls_back(sort_seven(proxy, 300))
    first, second = timeouts
    assert 100 < second <= first - 9 < 300 * 0.9


def test_default_deadline_is_two_seconds(flow: Flow) -> None:
    with hung(flow.predictor):
        began = monotonic()
        falls_back(flow.soft.client.post("/letters", json={"pixels": SEVEN_PIXELS}))
        assert 1.8 < monotonic() - began < 2.3
    is_back(flow, "two seconds")


def test_breaker_answers_immediately_after_five_failures_until_the_predictor_recovers(flow: Flow) -> None:
    with hung(flow.predictor):
        for _ in range(5):
            assert flow.soft.metric("backend_breaker_open", backend="predictor") == 0
            falls_back(sort_seven(flow.soft, 500))
        assert flow.soft.metric("backend_breaker_open", backend="predictor") == 1
        began = monotonic()
        falls_back(sort_seven(flow.soft))
        assert monotonic() - began < 0.1
        assert flow.soft.metric("backend_calls_total", outcome="breaker open") >= 1
    is_back(flow, "an open breaker")
    assert flow.soft.metric("backend_breaker_open", backend="predictor") == 0
