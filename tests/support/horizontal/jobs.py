"""Jobs of the horizontal pattern as its clients have them: submitted, polled, followed."""

from collections.abc import Iterator
from time import monotonic
from typing import Any, NamedTuple

from tests.support.horizontal.deployment import Answer
from tests.support.http.sse import events_of
from tests.support.processes import wait_until
from tests.support.samples import SEVEN_JSON
from tests.support.service_process import Server


class Event(NamedTuple):
    """What a stream of events said, and when."""

    name: str
    data: Answer
    at: float


def submit(proxy: Server, body: object = SEVEN_JSON) -> str:
    """The place of a job that was accepted."""
    answer = proxy.client.post("/jobs", json=body)
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == f"/jobs/{answer.json()['job_id']}"
    assert answer.json()["status"] == "running"
    return answer.headers["location"]


def look(proxy: Server, job: str, wait: float = 0) -> Answer:
    """The job as it is, or once it is closed."""
    answer = proxy.client.get(job, params={"wait": wait})
    assert answer.status_code == 200, answer.text
    found: Answer = answer.json()
    return found


def events(proxy: Server, job: str) -> Iterator[Event]:
    """The events of a job, as they come."""
    with proxy.client.stream("GET", f"{job}/events") as answer:
        for name, data in events_of(answer):
            yield Event(name, data, monotonic())


def all_answered(proxy: Server, job: str) -> Answer:
    """The job once every member has answered."""
    return has_answers(proxy, job, 3)


def has_answers(proxy: Server, job: str, count: int) -> Answer:
    """The job once so many members have answered."""

    def look_again() -> Any:
        found = look(proxy, job)
        return found if len(found["predictions"]) == count else None

    answer: Answer = wait_until(look_again, 20)
    return answer


def rows(server: Server) -> float:
    """How many pictures a member has read."""
    return server.metric("batch_rows_sum")
