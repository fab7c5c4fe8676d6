"""A receiver of webhooks in this process, which does what a test says; and the pattern that delivers to it."""

import base64
import sqlite3
import ssl
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from queue import Empty, Queue
from threading import Event
from time import monotonic
from typing import Any, NamedTuple

import pytest
from standardwebhooks import Webhook

from tests.support.models.onnx_models import poison_reader
from tests.support.queue.jobs import SHORT_LEASE
from tests.support.service_process import Server, web_server
from tests.support.stack import Stack, asynchronous_stack

SECRET = "whsec_" + base64.b64encode(b"a secret that only tests know...").decode()
TIMEOUT_SECONDS, ATTEMPTS = 0.5, 3
SIGNING: dict[str, Any] = {"webhook_secret": SECRET, "webhook_allow_private": True}


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
    def listening(self, tls: ssl.SSLContext | None = None) -> Iterator["Receiver"]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                statuses = receiver.statuses.get(self.path) or [204]
                receiver.got.put(Got(monotonic(), self.path, headers, body))
                status = statuses.pop(0)
                if not status:
                    receiver.over.wait(20)
                self.send_response(200 if self.path in receiver.slowly else status or 204)
                if status in (301, 302, 307, 308):
                    self.send_header("Location", f"{receiver.url}/elsewhere")
                self.end_headers()
                while self.path in receiver.slowly and not receiver.over.wait(TIMEOUT_SECONDS / 3):
                    try:
                        self.wfile.write(b"a")
                    except OSError:
                        break

            def log_message(self, format: str, *args: Any) -> None:
                pass

        with web_server(Handler, tls) as self.url:
            try:
                yield self
            finally:
                self.over.set()


class DeliveryDeployment(NamedTuple):
    """The pattern with its delivery, which brings results to a database and to receivers inside the network, too."""

    stack: Stack
    front: Server
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
        return self.stack.start("predictor", **reader(self.database))

    def start_delivery(self, **settings: object) -> Server:
        return self.stack.start("delivery", **delivery(self.database) | settings)


def delivery(database: Path) -> dict[str, Any]:
    attempts = {"delivery_timeout_seconds": TIMEOUT_SECONDS, "delivery_attempts": ATTEMPTS}
    return SIGNING | attempts | {"results_database": database}


def reader(database: Path) -> dict[str, Any]:
    """One that gives up at once."""
    return SHORT_LEASE | {"model_uri": database.parent / "mlp.onnx", "max_attempts": 1}


@contextmanager
def delivery_deployment(folder: Path) -> Iterator[DeliveryDeployment]:
    """Once all are ready; the database is in this folder."""
    database = folder / "results.sqlite"
    poison_reader(folder / "mlp.onnx")
    services = {"predictor": reader(database), "delivery": delivery(database)}
    with asynchronous_stack(services, **SIGNING) as stack:
        yield DeliveryDeployment(stack, stack.front, database)
