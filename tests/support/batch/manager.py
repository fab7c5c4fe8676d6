"""A manager of batch jobs for a test, as its Procfile starts it, with a data root of its own; and what its jobs are."""

import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow.parquet as pq

from tests.support.batch.digit_datasets import write_data
from tests.support.batch.parquet_data import members
from tests.support.forked.services import running_service
from tests.support.models.onnx_models import slow_reader
from tests.support.patterns.procfiles import commands
from tests.support.processes import free_port, wait_until
from tests.support.samples import MLP
from tests.support.service_process import Server, client_of, is_ready

OPEN = ("queued", "running")
LONG = 90.0
"""Seconds that a job may take where many others are at work."""
FAST_MANAGER = {"poll_interval_seconds": 0.1, "workers": 1, "chunk_rows": 1, "drain_seconds": 0}
"""A chunk for each row group, and one process that works."""
ROWS, CHUNKS = 200, 10
"""Of the data of `filled_manager`."""


class Manager:
    """One manager after another, with the same registry and the same data."""

    def __init__(self, folder: Path, stack: ExitStack, settings: dict[str, object]) -> None:
        self.data = folder / "data"
        self.database = folder / "state" / "manager.sqlite"
        self._folder = folder
        self._stack = stack
        self._settings = FAST_MANAGER | settings
        self.server: Server

    def start(self, **settings: object) -> None:
        """Start a manager, and wait until it is ready."""
        given = {name.upper(): str(value) for name, value in (self._settings | settings).items()}
        port = free_port()
        given |= {"BATCH_PORT": str(port), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        given |= {"DATA_ROOT": str(self.data), "MANAGER_DATABASE": str(self.database)}
        log = self._folder / f"{port}.log"
        process = self._stack.enter_context(running_service(commands("batch")["batch"], log, **given))
        self._stack.callback(lambda: print(log.read_text()[-5_000:], end="", file=sys.stderr))
        client = self._stack.enter_context(client_of(port, 30))
        self.server = Server(port, process, log, client)
        wait_until(lambda: process.poll() is not None or is_ready(self.server))
        assert process.poll() is None, log.read_text()

    def kill(self) -> None:
        """SIGKILL: it has no time for anything."""
        self.server.process.kill()
        self.server.process.wait()

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Tell it to end, and wait."""
        self.server.process.send_signal(number)
        self.server.process.wait(30)

    def post(self, path: str, status: int, **body: object) -> Any:
        """What it answers, which must come with this status."""
        response = self.server.client.post(path, json=body)
        assert response.status_code == status, response.text
        return response.json()

    def run(self, output: str = "out", source: object = "scans", **options: object) -> str:
        """Ask for a run; its id."""
        return str(self.post("/runs", 201, input=source, output=output, **options)["id"])

    def get(self, run_id: str) -> Any:
        return self.server.get(f"/runs/{run_id}").json()

    def until(self, run_id: str, *states: str) -> Any:
        """The run, once it is in one of these states."""
        return wait_until(lambda: run if (run := self.get(run_id))["state"] in states else None, LONG)

    def ended(self, run_id: str) -> Any:
        return self.until(run_id, "done", "failed", "cancelled", "late")

    def with_chunks(self, run_id: str, chunks: int = 1) -> Any:
        """The run, once its job has done so many chunks."""
        return wait_until(lambda: run if self.parts(run := self.get(run_id)) >= chunks and run["pid"] else None, LONG)

    def parts(self, run: Any) -> int:
        return len(list((self.data / run["output"]).glob("part-*.parquet")))

    def schedule(self, **form: object) -> Any:
        """A schedule that is due in a year or so, unless a rule is given."""
        name = uuid4().hex[:8]
        usual = {"name": name, "rule": "0 0 1 1 *", "input": "scans", "output": f"{name}/{{date}}/{{time}}"}
        return self.post("/schedules", 201, **usual | form)

    def is_due(self, schedule: Any, ago: float = 0.0, column: str = "next_due") -> str:
        """Let a schedule be due now, or some seconds ago; that time, as the manager writes it."""
        time = (datetime.now(UTC) - timedelta(seconds=ago)).isoformat(timespec="microseconds")
        with closing(sqlite3.connect(self.database, timeout=10)) as registry, registry:
            registry.execute(f"UPDATE schedules SET {column} = ? WHERE id = ?", (time, schedule["id"]))
        return time

    def has_zone(self, schedule: Any, zone: str) -> None:
        """Let a stored schedule have this time zone, as one that an earlier manager let in."""
        with closing(sqlite3.connect(self.database, timeout=10)) as registry, registry:
            form = "json_set(request, '$.time_zone', ?)"
            registry.execute(f"UPDATE schedules SET request = {form} WHERE id = ?", (zone, schedule["id"]))

    def runs_of(self, schedule: Any, count: int = 1) -> list[Any]:
        """The runs of a schedule, the newest first, once there are so many of them and all have ended."""

        def found() -> list[Any]:
            runs: list[Any] = self.server.client.get("/runs", params={"schedule_id": schedule["id"]}).json()
            return runs if len(runs) >= count and not any(run["state"] in OPEN for run in runs) else []

        return wait_until(found, LONG)


def ids(output: Path) -> list[int]:
    """Of all rows that are published, sorted."""
    return sorted(row for part in output.glob("part-*.parquet") for row in pq.read_table(part)["id"].to_pylist())


@contextmanager
def manager(folder: Path, **settings: object) -> Iterator[Manager]:
    """A manager that has not been started yet; at the end it and its jobs are ended."""
    with ExitStack() as stack:
        yield Manager(folder, stack, settings)


@contextmanager
def filled_manager(folder: Path, **settings: object) -> Iterator[Manager]:
    """A manager that runs, whose jobs have the slow reader as `mlp.onnx` in this folder, and data for it.

    `scans`, read at once; `slow`, as many rows in 10 chunks of 0.15 s; `stuck`, in chunks that take long.
    """
    model = slow_reader(folder / "mlp.onnx")
    shutil.copy(MLP.with_suffix(".json"), folder)
    with manager(folder, model_uri=model, batching="on", **settings) as service:
        write_data(service.data / "scans", ROWS, files=2, row_group=ROWS)
        write_data(service.data / "slow", ROWS, row_group=ROWS // CHUNKS, seconds=0.15)
        write_data(service.data / "stuck", 4, row_group=1, seconds=10)
        service.start()
        yield service


def assert_read(service: Manager, run_id: str, rows: list[int]) -> None:
    """It is done, and its output has these ids."""
    run = service.ended(run_id)
    assert run["state"] == "done", run
    assert ids(service.data / run["output"]) == rows


def assert_whole(service: Manager, run: Any, rows: int = ROWS) -> None:
    """It is done, every row is there once, and nothing is left of its job."""
    assert run["state"] == "done", run
    assert ids(service.data / run["output"]) == list(range(rows))
    assert run["progress"]["rows"] == run["progress"]["rows_total"] == rows
    assert (service.data / run["output"] / "_SUCCESS").exists()
    assert not list((service.database.parent / "jobs").glob(f"{run['id']}.lock"))
    wait_until(lambda: not members(run["pid"]))
