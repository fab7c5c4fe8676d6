"""An app that is started again in the same process, as tests of a copy do, works as it did the first time."""

from functools import partial
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from asynchronous.delivery import create_app as create_delivery
from asynchronous.predictor import create_app as create_predictor
from asynchronous.proxy import create_app
from asynchronous.settings import DeliverySettings, PredictorSettings, ProxySettings
from tests.support.processes import wait_until
from tests.support.queue.webhook_receiver import SIGNING
from tests.support.redis_servers import RedisServer


def is_stored(client: TestClient, url: str) -> bool:
    return client.get(url).json()["delivered"]["database"] is not None


@pytest.mark.full
def test_the_predictor_and_the_delivery_work_again_when_their_apps_are_started_again(
    tmp_path: Path, valkey: RedisServer
) -> None:
    redis = SecretStr(valkey.url)
    front = create_app(ProxySettings(redis_url=redis))
    predictor = create_predictor(PredictorSettings(redis_url=redis))
    database = str(tmp_path / "results.sqlite")
    delivery = create_delivery(DeliverySettings(redis_url=redis, results_database=database, **SIGNING))
    for _ in range(2):
        with TestClient(front) as client, TestClient(predictor), TestClient(delivery):
            url = client.post("/jobs", json={"pixels": [0, 0, 0, 13, 13, 0, 0, 0] * 8}).headers["Location"]
            assert client.get(f"{url}?wait=10").json()["status"] == "done"
            wait_until(partial(is_stored, client, url))
