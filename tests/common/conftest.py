"""web_single with its defaults: one for each test module of these rooms that asks for it."""

from collections.abc import Iterator

import pytest

from tests.support.service_process import Server, serving


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as server:
        yield server
