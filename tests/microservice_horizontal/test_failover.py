"""Redis behind one address fails over: requests and jobs go on (H5)."""

from time import monotonic

import pytest

from tests.support.horizontal.jobs import look, submit
from tests.support.processes import wait_until
from tests.support.queue.redis_pair import RECOVERY_SECONDS, pair_of
from tests.support.samples import SEVEN_JSON
from tests.support.stack import MEMBERS

pytestmark = pytest.mark.full


def test_jobs_and_requests_go_on_after_a_failover_behind_one_address() -> None:
    with pair_of("valkey", "microservice_horizontal", (*MEMBERS, "postprocessor", "microservice_horizontal")) as pair:
        front = pair.stack.front
        earlier = [submit(front) for _ in range(8)]
        assert [look(front, job, wait=20)["prediction"]["digit"] for job in earlier] == [7] * 8
        pair.replicate()
        pair.fail_over()
        began = monotonic()
        assert front.read(SEVEN_JSON).json()["digit"] == 7  # members are asked, not Redis
        wait_until(lambda: front.client.post("/jobs", json=SEVEN_JSON).status_code == 202, RECOVERY_SECONDS)
        assert look(front, submit(front), wait=20)["prediction"]["digit"] == 7
        wait_until(pair.all_ready, RECOVERY_SECONDS)
        assert monotonic() - began < RECOVERY_SECONDS
        assert [look(front, job)["prediction"]["digit"] for job in earlier] == [7] * 8
