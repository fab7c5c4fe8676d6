"""A host whose clock is days off changes nothing: every time that decides something is Redis's (H7)."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.support.horizontal.deployment import linked_deployment
from tests.support.horizontal.jobs import all_answered, look, submit
from tests.support.processes import wait_until
from tests.support.queue.shifted_clock import shifted
from tests.support.stack import MEMBERS

pytestmark = [pytest.mark.full, pytest.mark.faketime]


@pytest.mark.parametrize("offset", ["+2d", "-2d"])
def test_jobs_are_answered_and_closed_on_time_by_hosts_with_a_wrong_clock(offset: str) -> None:
    services = {"svm": shifted(offset), "postprocessor": shifted(offset) | {"quorum": 3}}
    with linked_deployment(services, job_deadline_seconds=3) as deployment:
        closed = [look(deployment.front, submit(deployment.front), wait=10) for _ in range(3)]
        assert {job["status"] for job in closed} == {"done"}
        with deployment.hung("svm"):
            late = look(deployment.front, submit(deployment.front), wait=10)
        closed.append(late)
        assert (late["status"], late["missing"]) == ("failed", [{"model": "svm", "reason": "timeout"}])
        submitted, finished = (datetime.fromisoformat(late[f"{name}_at"]) for name in ("submitted", "finished"))
        assert 2.9 < (finished - submitted).total_seconds() < 6
        assert abs(datetime.now(UTC) - finished) < timedelta(minutes=1)
        with deployment.stack.store() as store:
            wait_until(lambda: store.xlen("microservice_horizontal:jobs") == 0, 20)
        assert set(all_answered(deployment.front, f"/jobs/{late['job_id']}")["predictions"]) == {*MEMBERS}
        log_time = datetime.fromisoformat(deployment.stack.servers["postprocessor"].log_lines()[-1]["time"])
        assert abs(datetime.now(UTC) - log_time) > timedelta(days=1)  # its clock really is wrong
