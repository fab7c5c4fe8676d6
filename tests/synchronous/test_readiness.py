"""When the proxy is ready: once its predictor was there; after that, without a fallback, only while it is."""

import signal
from functools import partial
from time import monotonic

import pytest

from tests.support.processes import answers, wait_until
from tests.support.service_process import Server, is_ready
from tests.support.stack import predictor_url, stack_of

pytestmark = pytest.mark.full
SOON_SECONDS = 10.0


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_proxy_is_ready_after_its_predictor_and_without_fallback_only_while_it_is(scheme: str) -> None:
    with stack_of("synchronous") as stack, stack_of("synchronous") as others:
        url = predictor_url(stack, scheme)
        soft = stack.launch("synchronous", predictor_url=url)
        hard = others.launch("synchronous", predictor_url=url, fallback=False)
        for proxy in (soft, hard):
            wait_until(partial(answers, f"{proxy.url}/health/live"))
            assert not is_ready(proxy)

        stack.start("predictor")
        wait_until(lambda: is_ready(soft) and is_ready(hard), SOON_SECONDS)

        for end in (signal.SIGKILL, signal.SIGTERM):
            stack.servers["predictor"].process.send_signal(end)
            stack.servers["predictor"].process.wait(30)
            assert is_ready(soft)
            wait_until(lambda: not is_ready(hard), SOON_SECONDS)
            stack.start("predictor")
            wait_until(lambda: is_ready(hard), SOON_SECONDS)

        stack.servers["predictor"].process.send_signal(signal.SIGSTOP)
        try:
            assert is_ready(soft)
            assert not is_ready_within(hard, 2)
        finally:
            stack.servers["predictor"].process.send_signal(signal.SIGCONT)
        wait_until(lambda: is_ready(hard), SOON_SECONDS)


def is_ready_within(server: Server, seconds: float) -> bool:
    """Whether it is ready; it must say so in time, as those who ask do not wait for ever."""
    began = monotonic()
    ready = is_ready(server)
    assert monotonic() - began < seconds
    return ready
