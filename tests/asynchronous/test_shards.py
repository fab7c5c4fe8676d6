"""Two shards behind nginx, configured as the README says: each a whole pattern with a Valkey of its own."""

import re
from collections.abc import Iterator

import httpx
import pytest

from tests.support.http.nginx import nginx_with
from tests.support.processes import ROOT, free_port
from tests.support.queue.jobs import moment
from tests.support.samples import SEVEN_JSON
from tests.support.stack import Stack, asynchronous_stack

pytestmark = [pytest.mark.nginx, pytest.mark.full]

KEYS = [f"letter-{number}" for number in range(8)]


@pytest.fixture(scope="module")
def shards() -> Iterator[list[Stack]]:
    with (
        asynchronous_stack(uvicorn_root_path="/shard-0") as first,
        asynchronous_stack(uvicorn_root_path="/shard-1") as second,
    ):
        yield [first, second]


@pytest.fixture(scope="module")
def client(shards: list[Stack], tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    readme = (ROOT / "asynchronous" / "README.md").read_text()
    block = re.search(r"^```nginx\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    assert block
    port, configuration = free_port(), block[1]
    for said, given in (("8003", shards[0].front.port), ("8013", shards[1].front.port), ("8030", port)):
        configuration = configuration.replace(f"127.0.0.1:{said}", f"127.0.0.1:{given}")
    with (
        nginx_with(tmp_path_factory.mktemp("nginx"), configuration, port),
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, verify=False) as client,
    ):
        yield client


def submit(client: httpx.Client, key: str = "", headers: dict[str, str] | None = None) -> str:
    """A new job's `Location`."""
    answer = client.post("/jobs", json=SEVEN_JSON, params={"ordering_key": key} if key else {}, headers=headers)
    assert answer.status_code == 202, answer.text
    return answer.headers["location"]


def shard_of(location: str) -> str:
    return location.split("/")[1]


def test_jobs_of_one_key_are_done_in_order_in_one_shard_and_keys_are_spread(client: httpx.Client) -> None:
    locations = {key: [submit(client, key) for _ in range(5)] for key in KEYS}
    for of_key in locations.values():
        assert len(set(map(shard_of, of_key))) == 1
        jobs = [client.get(f"{location}?wait=20").json() for location in of_key]
        assert [job["prediction"]["digit"] for job in jobs] == [7] * 5
        ends = [moment(job, "finished") for job in jobs]
        assert ends == sorted(ends)
    assert {shard_of(of_key[0]) for of_key in locations.values()} == {"shard-0", "shard-1"}


def test_jobs_without_a_key_are_spread_and_a_repeated_idempotency_key_is_one_job(client: httpx.Client) -> None:
    assert {shard_of(submit(client)) for _ in range(20)} == {"shard-0", "shard-1"}
    for number in range(8):
        assert len({submit(client, headers={"Idempotency-Key": f"request-{number}"}) for _ in range(3)}) == 1


def test_events_of_a_job_come_from_its_shard(client: httpx.Client) -> None:
    with client.stream("GET", f"{submit(client)}/events") as answer:
        assert "event: done" in answer.read().decode()


def test_while_a_shard_is_away_its_keys_are_refused_and_the_others_go_on(
    client: httpx.Client, shards: list[Stack]
) -> None:
    of_shard = {shard_of(submit(client, key)): key for key in KEYS}
    shards[1].stop("asynchronous")
    assert client.post("/jobs", json=SEVEN_JSON, params={"ordering_key": of_shard["shard-1"]}).status_code == 502
    assert shard_of(submit(client, of_shard["shard-0"])) == "shard-0"
