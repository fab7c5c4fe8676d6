"""The services in this process, by FastAPI's TestClient: without a Redis no job is accepted, since it is not stored."""

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

NOT_RUNNING = SecretStr("redis://127.0.0.1:1/0")


def test_without_redis_no_job_is_accepted_and_a_bad_one_is_still_refused_as_such() -> None:
    with TestClient(create_app(ProxySettings(redis_url=NOT_RUNNING))) as client:
        assert client.get("/health/live").status_code == 200
        assert client.get("/health/ready").status_code == 503
        answer = client.post("/jobs", json={"pixels": [0, 0, 0, 13, 13, 0, 0, 0] * 8})
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert client.post("/jobs", json={"pixels": [0] * 64}).status_code == 422


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
