"""One service is replaced by another version while requests flow, and no request fails (V6)."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.http.fault_proxy import Link
from tests.support.load.grpc_and_rest import Load, load, rest_calls
from tests.support.processes import free_port
from tests.support.samples import MLP
from tests.support.service_process import Server
from tests.support.stack import Stack, vertical_stack
from tests.support.vertical.services import another_proxy

LINEAR = MLP.with_name("linear.onnx")


@contextmanager
def behind_a_link(stack: Stack) -> Iterator[tuple[Server, Link]]:
    """A proxy to which the reader is whatever the link leads to, as a Kubernetes service or a container's name is."""
    link = Link(stack.port("reader"))
    with link.running(), another_proxy(stack, reader_url=f"http://127.0.0.1:{link.port}/v2/models/mlp") as proxy:
        yield proxy, link


@contextmanager
def steady_load(proxy: Server) -> Iterator[Load]:
    """Sevens are read all the while, and in the end none has failed."""
    with rest_calls(proxy.port) as call:
        with load(call, at_once=6) as requests:
            yield requests
        requests.no_failure()


@pytest.mark.full
def test_reader_is_replaced_by_another_version_without_a_failed_request() -> None:
    """The other starts and gets the new connections, and the first one gets SIGTERM; nothing else changes."""
    with vertical_stack({"reader": {"drain_seconds": 5}}) as stack, behind_a_link(stack) as (proxy, link):
        first = stack.servers["reader"]
        with steady_load(proxy) as requests:
            (old,) = requests.answers
            elsewhere = {"microservice_vertical_reader_port": free_port()}
            second = stack.start("reader", reader_model_uri=LINEAR, **elsewhere)
            link.to = second.port
            first.process.terminate()
            requests.goes_on(100)
            requests.answers.clear()
            requests.goes_on(100)
            (new,) = requests.answers
            assert new != old
            assert first.process.poll() is None  # it drains: it gets no more calls, and it has not closed its port
            first.process.wait(30)
            requests.goes_on(100)
            assert [*requests.answers] == [new]
            assert second.metric("model_info", version=new) == 1
        answered = proxy.metric("backend_calls_total", backend="reader", outcome="answered")
        assert proxy.metric("backend_calls_total", backend="reader") == answered > 300
        print(f"{answered:.0f} calls, second tries: {proxy.metric('backend_retries_total', backend='reader'):.0f}")
