"""Results go to other places than the client: a database, and a webhook that is signed and tried again (A2).

A receiver in this process, which does what a test says; a second proxy takes only public addresses, a third has no
secret.
"""

import base64
import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from itertools import pairwise
from pathlib import Path
from queue import Empty, Queue
from threading import Event
from time import monotonic, sleep
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
from standardwebhooks import Webhook

from asynchronous.webhooks import is_public
from tests import faults
from tests.faults import Link
from tests.jobs import QUICK, SEVEN, done, ended, hand_in, hand_in_all, hung, killed, look, retry, submit
from tests.processes import free_port, wait_until
from tests.servers import Server, is_ready, poison_reader, poisoned, web_server
from tests.systems import System, asynchronous

SECRET = "whsec_" + base64.b64encode(b"a secret that only tests know...").decode()
TIMEOUT_SECONDS, ATTEMPTS = 0.5, 3
SIGNING: dict[str, Any] = {"webhook_secret": SECRET, "webhook_allow_private": True}
full = pytest.mark.full


class Got(NamedTuple):
    """A webhook that came: when, its headers (lower case), its body."""

    at: float
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def message_id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def job(self) -> Any:
        """The job in it, once its signature is verified."""
        return self.verified()["data"]

    def verified(self) -> Any:
        return Webhook(SECRET).verify(self.body, self.headers)


@dataclass
class Receiver:
    """Answers each path with its statuses, one after another, and 204 when there are none left.

    A status of 0: it takes its time, until `over` is set. `slowly`: a byte now and then, without an end.
    """

    url: str = ""
    statuses: dict[str, list[int]] = field(default_factory=dict)
    got: Queue[Got] = field(default_factory=Queue)
    over: Event = field(default_factory=Event)
    slowly: set[str] = field(default_factory=set)

    def expecting(self, path: str, *statuses: int) -> str:
        """The address of a path that answers so."""
        self.statuses[path] = list(statuses)
        return f"{self.url}{path}"

    def next(self, seconds: float = 15) -> Got:
        return self.got.get(timeout=seconds)

    def nothing_more(self, seconds: float) -> None:
        with pytest.raises(Empty):
            self.got.get(timeout=seconds)

    @contextmanager
    def listening(self) -> Iterator["Receiver"]:
        these = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                statuses = these.statuses.get(self.path) or [204]
                these.got.put(Got(monotonic(), self.path, headers, body))
                status = statuses.pop(0)
                if not status:
                    these.over.wait(20)
                self.send_response(200 if self.path in these.slowly else status or 204)
                if status in (301, 302, 307, 308):
                    self.send_header("Location", f"{these.url}/elsewhere")
                self.end_headers()
                while self.path in these.slowly and not these.over.wait(TIMEOUT_SECONDS / 3):
                    try:
                        self.wfile.write(b"a")
                    except OSError:
                        break

            def log_message(self, format: str, *args: Any) -> None:
                pass

        with web_server(Handler) as self.url:
            try:
                yield self
            finally:
                self.over.set()


class Office(NamedTuple):
    """The pattern; proxies that take only public addresses, or none."""

    these: System
    front: Server
    public: Server
    unsigned: Server
    database: Path

    def rows(self, job_ids: Sequence[str]) -> dict[str, tuple[str, int | None]]:
        """Status and digit in the database, by job; each is there once."""
        with closing(sqlite3.connect(self.database, timeout=5)) as connection:
            marks = ",".join("?" * len(job_ids))
            found = connection.execute(f"SELECT job_id, status, digit FROM results WHERE job_id IN ({marks})", job_ids)
            rows = found.fetchall()
        assert len({job_id for job_id, *_ in rows}) == len(rows)
        return {job_id: (status, digit) for job_id, status, digit in rows}

    def start_predictor(self) -> Server:
        return self.these.start("predictor", **reader(self.database))

    def start_delivery(self, **settings: object) -> Server:
        return self.these.start("delivery", **delivery(self.database) | settings)


def delivery(database: Path) -> dict[str, Any]:
    attempts = {"delivery_timeout_seconds": TIMEOUT_SECONDS, "delivery_attempts": ATTEMPTS}
    return SIGNING | attempts | {"results_database": database}


def reader(database: Path) -> dict[str, Any]:
    """One that gives up at once."""
    return QUICK | {"model_uri": database.parent / "mlp.onnx", "max_attempts": 1}


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    folder = tmp_path_factory.mktemp("delivery")
    database = folder / "results.sqlite"
    poison_reader(folder / "mlp.onnx")
    services = {"predictor": reader(database), "delivery": delivery(database)}
    with asynchronous(services, **SIGNING) as these:
        front, others = these.front, []
        for settings in ({"webhook_secret": SECRET}, {}):
            port = free_port()
            ports = {"asynchronous_port": port, "asynchronous_asynchronous_port": port}
            others.append(these.launch("asynchronous", **ports, **settings))
        wait_until(lambda: all(map(is_ready, others)))
        public, unsigned = others
        yield Office(these, front, public, unsigned, database)
        for server in (front, *others):
            server.process.terminate()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver().listening() as receiver:
        yield receiver


# The result database


def test_each_job_is_in_the_database_once(office: Office) -> None:
    ids = hand_in_all(office.front, [SEVEN] * 20)
    bad = hand_in(office.front, poisoned())
    jobs = {job["job_id"]: job for job in done(office.front, *ids)}
    error = ended(office.front, bad)["error"]
    wait_until(lambda: len(office.rows([*ids, bad])) == 21)
    assert office.rows([*ids, bad]) == dict.fromkeys(ids, ("done", 7)) | {bad: ("failed", None)}
    with closing(sqlite3.connect(office.database)) as connection:
        found = "SELECT prediction, error, confidence FROM results WHERE job_id = ?"
        prediction, _, confidence = connection.execute(found, [ids[0]]).fetchone()
        assert connection.execute(found, [bad]).fetchone() == (None, error, None)
    assert json.loads(prediction) == jobs[ids[0]]["prediction"]
    assert confidence == jobs[ids[0]]["prediction"]["confidence"]


@full
def test_each_job_is_in_the_database_once_although_the_delivery_was_killed(office: Office) -> None:
    ids = hand_in_all(office.front, [SEVEN] * 300)
    wait_until(lambda: office.rows(ids[:1]))
    killed(office.these.servers["delivery"])
    ids += hand_in_all(office.front, [SEVEN] * 100)
    office.start_delivery()
    killed(office.these.servers["delivery"])
    office.start_delivery()
    done(office.front, *ids)
    wait_until(lambda: len(office.rows(ids)) == len(ids))
    assert set(office.rows(ids).values()) == {("done", 7)}


@contextmanager
def good_model(office: Office) -> Iterator[None]:
    """When the block has ended, all is read by another predictor, for as long as it takes what is open."""
    bad = office.these.servers["predictor"]
    office.these.stop("predictor")
    try:
        yield
        office.these.start("predictor", max_attempts=1, **QUICK)
        wait_until(lambda: office.these.store().zcard("asynchronous:open") == 0)
        office.these.stop("predictor")
    finally:
        assert bad.process.poll() is not None
        office.start_predictor()


@full
def test_of_a_retried_dead_letter_the_database_has_the_newer_end(office: Office) -> None:
    job_id = hand_in(office.front, poisoned())
    assert ended(office.front, job_id)["status"] == "failed"
    wait_until(lambda: office.rows([job_id]) == {job_id: ("failed", None)})
    with good_model(office):
        assert retry(office.front, job_id).status_code == 202
    wait_until(lambda: office.rows([job_id]) == {job_id: ("done", 7)})


@full
def test_what_is_in_the_database_has_ended(office: Office) -> None:
    """Also where a dead letter is retried before its first end was stored."""
    office.these.stop("delivery")
    job_id = hand_in(office.front, poisoned())
    assert ended(office.front, job_id)["status"] == "failed"
    with hung(office.these.servers["predictor"]):
        assert retry(office.front, job_id).status_code == 202
        office.start_delivery()
        sleep(1)
        assert office.rows([job_id]) in ({}, {job_id: ("failed", None)})
    wait_until(lambda: office.rows([job_id]) == {job_id: ("failed", None)})


# Webhooks


def test_a_result_is_delivered_signed_as_standard_webhooks_has_it(office: Office, receiver: Receiver) -> None:
    job_id = hand_in(office.front, callback_url=receiver.expecting("/hook?a=b"))
    got = receiver.next()
    message = got.verified()
    assert (got.path, message["type"], got.headers["content-type"]) == ("/hook?a=b", "job.done", "application/json")
    assert got.headers["host"] == urlsplit(receiver.url).netloc
    assert message["data"] == look(office.front, job_id)
    assert SECRET.encode() not in got.body
    for changed in (got.body + b" ", got.body.replace(b"7", b"1")):
        with pytest.raises(Exception, match="signature"):
            Webhook(SECRET).verify(changed, got.headers)
    receiver.nothing_more(0.5)


def test_a_job_that_failed_or_was_called_off_is_delivered_too(office: Office, receiver: Receiver) -> None:
    bad = hand_in(office.front, poisoned(), callback_url=receiver.expecting("/bad"))
    message = receiver.next().verified()
    assert (message["type"], message["data"]["job_id"], message["data"]["prediction"]) == ("job.failed", bad, None)
    with hung(office.these.servers["predictor"]):
        off = hand_in(office.front, callback_url=receiver.expecting("/off"))
        office.front.client.delete(f"/jobs/{off}")
        assert "called off" in receiver.next().job["error"]


@full
def test_a_receiver_that_fails_redirects_or_hangs_is_tried_again_with_the_same_id_and_then_given_up(
    office: Office, receiver: Receiver
) -> None:
    """Later each time. Whoever is redirected to is not asked."""
    statuses = {"/one": [500, 302, 307, 500], "/two": [0, 503, 204], "/three": [404, 204]}
    for path, some in statuses.items():
        hand_in(office.front, callback_url=receiver.expecting(path, *some))
    got = sorted([receiver.next() for _ in range(3 + 3 + 2)])
    by_path = {path: [one for one in got if one.path == path] for path in statuses}
    assert [len(these) for these in by_path.values()] == [3, 3, 2]
    for these in by_path.values():
        assert len({one.message_id for one in these}) == 1
        assert len({json.dumps(one.verified()) for one in these}) == 1
        for wait, (before, after) in zip((1, 2), pairwise(these), strict=False):
            assert after.at - before.at > wait - 0.1
    redis = office.these.store()
    wait_until(lambda: redis.zcard("asynchronous:webhooks") == 0, 3)  # nothing more is due


@full
def test_a_receiver_that_refuses_is_tried_again(office: Office, receiver: Receiver) -> None:
    with Link(urlsplit(receiver.url).port or 0).running() as link:
        link.set(faults.REFUSE)
        job_id = hand_in(office.front, callback_url=f"http://127.0.0.1:{link.port}/hook")
        wait_until(lambda: tried(office, job_id))
        link.set(faults.PASS)
        assert receiver.next().job["job_id"] == job_id


def tried(office: Office, job_id: str) -> bool:
    return bool(office.these.store().hget(f"asynchronous:job:{job_id}", "delivery_attempts"))


@full
def test_of_a_receiver_whose_answer_never_ends_the_status_is_enough(office: Office, receiver: Receiver) -> None:
    receiver.slowly.add("/slow")
    job_id = hand_in(office.front, callback_url=receiver.expecting("/slow"))
    first = receiver.next()
    assert first.job["job_id"] == job_id
    redis = office.these.store()
    wait_until(lambda: redis.zscore("asynchronous:webhooks", job_id) is None, 5)
    assert receiver.got.empty()
    lines = office.these.servers["delivery"].log_lines()
    assert [line for line in lines if line["level"] == "ERROR"] == []


@full
def test_a_retried_dead_letter_is_delivered_once_more_with_all_its_attempts(office: Office, receiver: Receiver) -> None:
    url = receiver.expecting("/hook", *[500] * ATTEMPTS)
    job_id = hand_in(office.front, poisoned(), callback_url=url)
    ids = {receiver.next().message_id for _ in range(ATTEMPTS)}
    assert len(ids) == 1
    receiver.expecting("/hook", *[500] * (ATTEMPTS - 1))
    assert retry(office.front, job_id).status_code == 202
    more = {receiver.next().message_id for _ in range(ATTEMPTS)}
    assert len(more) == 1
    assert not more & ids


@full
def test_an_end_that_comes_while_the_one_before_is_delivered_is_delivered_too(
    office: Office, receiver: Receiver
) -> None:
    job_id = hand_in(office.front, poisoned(), callback_url=receiver.expecting("/hook", 0))
    first = receiver.next()
    assert retry(office.front, job_id).status_code == 202
    sleep(0.15)
    receiver.over.set()
    assert ended(office.front, job_id)["status"] == "failed"
    assert receiver.next().message_id != first.message_id


@full
def test_what_is_delivered_has_ended(office: Office, receiver: Receiver) -> None:
    """Also where a dead letter is retried before its webhook was taken."""
    job_id = hand_in(office.front, poisoned(), callback_url=receiver.expecting("/hook", 500))
    assert receiver.next().verified()["type"] == "job.failed"
    with hung(office.these.servers["predictor"]):
        assert retry(office.front, job_id).status_code == 202
        receiver.nothing_more(2)
    assert receiver.next().verified()["type"] == "job.failed"


@full
def test_a_webhook_is_delivered_although_the_delivery_was_killed(office: Office, receiver: Receiver) -> None:
    hand_in(office.front, callback_url=receiver.expecting("/hook", 0))
    first = receiver.next()
    killed(office.these.servers["delivery"])
    receiver.over.set()
    office.start_delivery()
    assert receiver.next().message_id == first.message_id


# Who may be asked

INSIDE = [
    "http://127.0.0.1:8000/hook",
    "http://localhost/hook",
    "http://10.0.0.1/hook",
    "http://172.16.0.1/hook",
    "http://192.168.1.1/hook",
    "http://169.254.169.254/latest/meta-data",
    "http://100.64.0.1/hook",
    "http://0.0.0.0/hook",
    "http://224.0.0.1/hook",
    "http://2130706433/hook",
    "http://0x7f.1/hook",
    "http://[::1]/hook",
    "http://[::]/hook",
    "http://[::ffff:127.0.0.1]/hook",
    "http://[::ffff:a00:1]/hook",
    "http://[64:ff9b::7f00:1]/hook",
    "http://[2002:7f00:1::]/hook",
    "http://[fd00::1]/hook",
    "http://[fe80::1]/hook",
]


@pytest.mark.parametrize("url", INSIDE)
def test_an_address_inside_the_network_is_a_422(office: Office, url: str) -> None:
    answer = submit(office.public, callback_url=url)
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert "callback_url" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700:4700::1111", True),
        ("64:ff9b::808:808", True),
        ("64:ff9b:1::808:808", False),
        ("fec0::1", False),
        ("::127.0.0.1", False),
        ("fe80::1%eth0", False),
        ("ff0e::1", False),
    ],
)
def test_only_the_internets_addresses_are_public(address: str, public: bool) -> None:
    assert is_public(address) == public


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/",
        "file:///etc/passwd",
        "example.com",
        "http://",
        "http://user:word@8.8.8.8/hook",
        "http://example.com:99999/",
        "http://8.8.8.8/" + "a" * 2_000,
    ],
)
def test_what_is_no_address_for_webhooks_is_a_422(office: Office, url: str) -> None:
    for front in (office.front, office.public):
        assert submit(front, callback_url=url).status_code == 422


@pytest.mark.parametrize("host", ["a" * 64 + ".com", "a..b", "xn--a.com", "-.com", "%00.com", "a b.com", "\u2024"])
def test_no_name_of_a_host_makes_the_proxy_fail(office: Office, host: str) -> None:
    assert submit(office.public, callback_url=f"http://{host}/").status_code in (202, 422)


def test_without_a_secret_no_callback_url_is_taken(office: Office) -> None:
    answer = submit(office.unsigned, callback_url="http://8.8.8.8/hook")
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert "WEBHOOK_SECRET" in answer.json()["detail"]


@full
def test_the_delivery_itself_asks_nobody_inside_the_network(office: Office, receiver: Receiver) -> None:
    """Where the name led elsewhere when the job was handed in, or a proxy allows what the delivery does not."""
    office.these.stop("delivery")
    server = office.start_delivery(webhook_allow_private=False)
    try:
        job_id = hand_in(office.front, callback_url=receiver.expecting("/hook"))
        wait_until(lambda: server.metric("webhooks_total", outcome="failed") == ATTEMPTS)
        receiver.nothing_more(0.1)
        assert f"webhook of job {job_id}: attempt 1: PrivateAddress" in server.log.read_text()
    finally:
        office.these.stop("delivery")
        office.start_delivery()


@full
def test_a_bad_secret_ends_the_process_with_a_line_that_does_not_tell_it(office: Office) -> None:
    servers = [
        office.these.launch(name, asynchronous_port=free_port(), webhook_secret=secret)
        for name, secret in (("asynchronous", "hunter2-hunter2"), ("delivery", "whsec_hunter2"), ("delivery", SHORT))
    ]
    for server in servers:
        assert server.process.wait(20) != 0
        log = server.log.read_text()
        assert "WEBHOOK_SECRET" in log
        assert "whsec_ and" in log  # what is expected
        assert "Traceback" not in log
        assert "hunter2" not in log
        assert SHORT not in log


SHORT = "whsec_" + base64.b64encode(b"short").decode()
