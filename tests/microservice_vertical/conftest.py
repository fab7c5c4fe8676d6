"""The vertical pattern, which the tests of several files share; each leaves it whole."""

from collections.abc import Iterator

import pytest

from tests.support.service_process import Server
from tests.support.stack import Stack, vertical_stack
from tests.support.vertical.services import another_proxy


@pytest.fixture(scope="package")
def stack() -> Iterator[Stack]:
    """All of it, with the settings that it has by default."""
    with vertical_stack() as stack:
        yield stack


@pytest.fixture(scope="package")
def proxies(stack: Stack) -> Iterator[dict[str, Server]]:
    """Two proxies in front of the same services, by their RETRIEVAL."""
    with another_proxy(stack, retrieval="predictor") as other:
        yield {"proxy": stack.front, "predictor": other}


@pytest.fixture(params=["proxy", "predictor"])
def proxy(proxies: dict[str, Server], request: pytest.FixtureRequest) -> Server:
    """Each of the two in turn."""
    return proxies[request.param]
