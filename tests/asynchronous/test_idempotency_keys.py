"""An Idempotency-Key makes a request that is sent again the same job, and no other (A1).

One Redis, one proxy, one predictor.
"""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from tests.support.models.onnx_models import poisoned
from tests.support.processes import wait_until
from tests.support.queue.jobs import TWO_ATTEMPTS, Deployment, another_proxy, deployment_with, done, ended, submit
from tests.support.queue.webhook_receiver import SIGNING
from tests.support.samples import SAMPLES, SEVEN_JSON
from tests.support.service_process import Server, is_ready

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def deployment() -> Iterator[Deployment]:
    with deployment_with(**TWO_ATTEMPTS) as deployment:
        yield deployment


@pytest.fixture
def front(deployment: Deployment) -> Server:
    return deployment.front


def keyed(key: str) -> dict[str, str]:
    return {"Idempotency-Key": key}


def test_the_same_idempotency_key_and_body_is_the_same_job(front: Server) -> None:
    key = str(uuid4())
    first = submit(front, SEVEN_JSON, keyed(key))
    ended(front, first.json()["job_id"])
    again = submit(front, SEVEN_JSON, keyed(key))
    assert (again.status_code, again.content) == (202, first.content)
    assert again.headers["location"] == first.headers["location"]
    assert submit(front, SEVEN_JSON, keyed(str(uuid4()))).json()["job_id"] != first.json()["job_id"]


def test_the_same_idempotency_key_with_another_body_is_a_422(front: Server) -> None:
    key = str(uuid4())
    submit(front, SEVEN_JSON, keyed(key))
    for other in (submit(front, poisoned(1), keyed(key)), submit(front, SEVEN_JSON, keyed(key), ordering_key="a")):
        assert (other.status_code, other.headers["content-type"]) == (422, "application/problem+json")
        assert "Idempotency-Key" in other.json()["detail"]


def test_the_same_request_in_another_spelling_is_the_same_job(deployment: Deployment) -> None:
    """JSON with other spaces, and the query in another order."""
    front = another_proxy(deployment.stack, **SIGNING)
    wait_until(lambda: is_ready(front))
    key, query = keyed(str(uuid4())), ["ordering_key=a", "callback_url=http://127.0.0.1:9/"]
    answers = [
        front.client.post(
            f"/jobs?{'&'.join(parameters)}", content=json.dumps(SEVEN_JSON, indent=indent), headers=key | JSON
        )
        for parameters, indent in ((query, None), (query[::-1], 2))
    ]
    front.process.terminate()
    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[0].content == answers[1].content


def test_the_same_bytes_of_another_media_type_are_another_request(front: Server) -> None:
    key, body = keyed(str(uuid4())), (SAMPLES / "seven.png").read_bytes()
    first, other = (
        front.client.post("/jobs", content=body, headers=key | {"Content-Type": content_type})
        for content_type in ("image/png", "application/octet-stream")
    )
    assert (first.status_code, other.status_code) == (202, 422)


def test_an_idempotency_key_that_comes_from_many_threads_at_once_is_one_job(deployment: Deployment) -> None:
    key = str(uuid4())
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda _: submit(deployment.front, SEVEN_JSON, keyed(key)), range(48)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.content for answer in answers}) == 1
    (job,) = done(deployment.front, answers[0].json()["job_id"])
    assert job["attempts"] == 1


def test_an_idempotency_key_that_is_too_long_is_a_422(front: Server) -> None:
    assert submit(front, SEVEN_JSON, keyed("k" * 256)).status_code == 422
