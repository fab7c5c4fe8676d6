"""A Redis whose memory is full: nothing more is taken in, all that was is done, and then there is room again."""

from typing import Any

import httpx
import pytest

from tests.support.processes import wait_until
from tests.support.redis_servers import OTHERS, redis_server
from tests.support.service_process import SEVEN_PIXELS
from tests.support.stack import System, system

JOBS = 20
PICTURE = {"pixels": SEVEN_PIXELS}


def handed_in(these: System) -> httpx.Response:
    return these.front.client.post("/jobs", json=PICTURE)


@pytest.mark.full
@pytest.mark.parametrize("kind", ["valkey", *OTHERS])
def test_a_full_redis_takes_no_job_and_loses_none(kind: str) -> None:
    with redis_server(kind) as server, system("asynchronous") as these:
        these.start("asynchronous", redis_url=server.url)
        accepted = [handed_in(these).json()["job_id"] for _ in range(JOBS)]
        server.client.config_set("maxmemory", 1)
        refused = handed_in(these)
        assert refused.status_code == 503
        assert refused.headers["retry-after"]
        assert server.client.zcard("asynchronous:open") == JOBS
        these.start("predictor", redis_url=server.url)
        assert [fetched(these, job)["prediction"]["digit"] for job in accepted] == [7] * JOBS
        server.client.config_set("maxmemory", "64mb")
        wait_until(lambda: handed_in(these).status_code == 202)


def fetched(these: System, job_id: str) -> Any:
    return these.front.client.get(f"/jobs/{job_id}", params={"wait": 15}).json()
