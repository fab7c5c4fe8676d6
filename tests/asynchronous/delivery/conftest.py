"""The asynchronous pattern with a delivery, which the tests of several files share; each leaves it whole."""

from collections.abc import Iterator

import pytest

from tests.support.queue.webhook_receiver import DeliveryDeployment, Receiver, delivery_deployment


@pytest.fixture(scope="package")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DeliveryDeployment]:
    """All of it, with short retries."""
    with delivery_deployment(tmp_path_factory.mktemp("delivery")) as deployment:
        yield deployment


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A host that receives webhooks."""
    with Receiver().listening() as receiver:
        yield receiver
