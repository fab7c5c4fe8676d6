"""The proxy in this process, by FastAPI's TestClient, without a Redis: no job is accepted that is not stored."""

from fastapi.testclient import TestClient
from pydantic import SecretStr

from asynchronous.proxy import create_app
from asynchronous.settings import ProxySettings

NOT_RUNNING = SecretStr("redis://127.0.0.1:1/0")


def test_without_redis_no_job_is_accepted_and_a_bad_one_is_still_refused_as_such() -> None:
    with TestClient(create_app(ProxySettings(redis_url=NOT_RUNNING))) as client:
        assert client.get("/health/live").status_code == 200
        assert client.get("/health/ready").status_code == 503
        answer = client.post("/jobs", json={"pixels": [0, 0, 0, 13, 13, 0, 0, 0] * 8})
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert client.post("/jobs", json={"pixels": [0] * 64}).status_code == 422
