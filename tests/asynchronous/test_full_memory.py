"""A Redis whose memory is full: nothing more is taken in, all that was is done, and then there is room again."""

from typing import Any

import httpx
import pytest

from tests.support.processes import wait_until
from tests.support.redis_servers import OTHERS, redis_server
from tests.support.samples import SEVEN_PIXELS
from tests.support.stack import Stack, stack_of

JOBS = 20
PICTURE = {"pixels": SEVEN_PIXELS}


def handed_in(stack: Stack) -> httpx.Response:
    return stack.front.client.post("/jobs", json=PICTURE)


@pytest.mark.full
@pytest.mark.parametrize("kind", ["valkey", *OTHERS])
def test_a_full_redis_rejects_new_jobs_and_loses_none(kind: str) -> None:
    with redis_server(kind) as server, stack_of("asynchronous") as stack:
        stack.start("asynchronous", redis_url=server.url)
        accepted = [handed_in(stack).json()["job_id"] for _ in range(JOBS)]
        server.client.config_set("maxmemory", 1)
        refused = handed_in(stack)
        assert refused.status_code == 503
        assert refused.headers["retry-after"]
        assert server.client.zcard("asynchronous:open") == JOBS
        stack.start("predictor", redis_url=server.url)
        assert [fetched(stack, job)["prediction"]["digit"] for job in accepted] == [7] * JOBS
        server.client.config_set("maxmemory", "64mb")
        wait_until(lambda: handed_in(stack).status_code == 202)


def fetched(stack: Stack, job_id: str) -> Any:
    return stack.front.client.get(f"/jobs/{job_id}", params={"wait": 15}).json()
