"""A Redis whose memory is full: nothing more is taken in, all that was is done, and then there is room again."""

from contextlib import closing
from typing import Any

import httpx
import pytest
from redis import Redis

from tests.processes import wait_until
from tests.servers import SEVEN_PIXELS
from tests.systems import System, system

JOBS = 20
PICTURE = {"pixels": SEVEN_PIXELS}


def handed_in(these: System) -> httpx.Response:
    return these.front.client.post("/jobs", json=PICTURE)


@pytest.mark.full
def test_a_full_redis_takes_no_job_and_loses_none() -> None:
    with system("asynchronous") as these:
        for name in ("redis", "asynchronous"):
            these.start(name)
        accepted = [handed_in(these).json()["job_id"] for _ in range(JOBS)]
        with closing(Redis(port=these.port("redis"))) as redis:
            redis.config_set("maxmemory", 1)
            refused = handed_in(these)
            assert refused.status_code == 503
            assert refused.headers["retry-after"]
            assert redis.zcard("asynchronous:open") == JOBS
            these.start("predictor")
            assert [fetched(these, job)["prediction"]["digit"] for job in accepted] == [7] * JOBS
            redis.config_set("maxmemory", "64mb")
        wait_until(lambda: handed_in(these).status_code == 202)


def fetched(these: System, job_id: str) -> Any:
    return these.front.client.get(f"/jobs/{job_id}", params={"wait": 15}).json()
