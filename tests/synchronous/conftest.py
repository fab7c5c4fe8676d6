"""The synchronous pattern with a link that can fail, which the tests of several files share; each leaves it whole."""

from collections.abc import Iterator

import pytest

from tests.support.synchronous_letters import Flow, flows


@pytest.fixture(scope="package", params=["http", "grpc"])
def flow(request: pytest.FixtureRequest) -> Iterator[Flow]:
    """Its proxies ask the predictor over REST, or over gRPC."""
    with flows(request.param) as flow:
        yield flow
