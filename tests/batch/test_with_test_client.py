"""The manager in this process, by FastAPI's TestClient, with a registry and a data root of its own."""

import gzip
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from fastapi.testclient import TestClient

from batch.manager import create_app
from batch.settings import ManagerSettings
from tests.support.processes import wait_until


def test_schedule_is_kept_and_input_outside_the_data_root_is_refused(tmp_path: Path) -> None:
    settings = ManagerSettings(data_root=tmp_path / "data", manager_database=tmp_path / "manager.sqlite")
    nightly = {"name": "nightly", "rule": "0 1 * * *", "input": "scans", "output": "digits/{date}"}
    with TestClient(create_app(settings)) as client:
        assert client.post("/schedules", json=nightly).status_code == 201
        assert [schedule["name"] for schedule in client.get("/schedules").json()] == ["nightly"]
        assert client.post("/runs", json={"input": "../elsewhere", "output": "digits"}).status_code == 422
        assert client.get("/runs").json() == []


def test_a_body_is_inflated_and_limited_as_in_every_pattern(tmp_path: Path) -> None:
    database = tmp_path / "manager.sqlite"
    settings = ManagerSettings(data_root=tmp_path / "data", manager_database=database, max_body_bytes=100)
    body = b'{"input": "scans", "output": "digits"}'
    sent = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    with TestClient(create_app(settings)) as client:
        assert client.post("/runs", content=gzip.compress(body), headers=sent).status_code == 201
        assert client.post("/runs", content=gzip.compress(body + b" " * 100), headers=sent).status_code == 413
        assert client.post("/runs", content=body + b" " * 100).status_code == 413
        assert client.post("/runs", content=body, headers={"Content-Encoding": "br"}).status_code == 415
        refused = client.post("/runs", content=body[:-1], headers={"Content-Type": "application/json"})
        assert (refused.status_code, refused.json()["detail"][:14]) == (422, "body: not JSON")


def test_folder_that_cannot_be_created_is_one_line_that_names_the_setting(tmp_path: Path) -> None:
    wrong: dict[str, Any] = {"data_root": Path("/proc/no/data"), "manager_database": Path("/proc/no/state.sqlite")}
    for name, path in wrong.items():
        given = {"data_root": tmp_path / "data", "manager_database": tmp_path / "state.sqlite"} | {name: path}
        with pytest.raises(SystemExit, match=f"nothing can be written into /proc/no.*: set {name.upper()} to"):
            create_app(ManagerSettings(**given))


def test_the_manager_works_again_when_its_app_is_started_again(tmp_path: Path) -> None:
    settings = ManagerSettings(data_root=tmp_path / "data", manager_database=tmp_path / "manager.sqlite")
    app = create_app(settings)
    for output in ("first", "second"):
        with TestClient(app) as client:
            assert client.get("/health/ready").status_code == 200
            assert client.post("/runs", json={"input": "scans", "output": output}).status_code == 201
            wait_until(lambda client=client: all(run["state"] == "failed" for run in client.get("/runs").json()))  # type: ignore[misc]
            assert {run["output"] for run in client.get("/runs").json()} >= {output}


def test_a_run_without_a_schedule_cannot_defer_its_failed_chunks(tmp_path: Path) -> None:
    settings = ManagerSettings(data_root=tmp_path / "data", manager_database=tmp_path / "manager.sqlite")
    with TestClient(create_app(settings)) as client:
        asked = {"input": "scans", "output": "digits"}
        answer = client.post("/runs", json=asked | {"retry": "none"})
        assert (answer.status_code, answer.json()["detail"][:11]) == (422, "retry: none")
        run = client.post("/runs", json=asked).json()
        wait_until(lambda: client.get(f"/runs/{run['id']}").json()["state"] == "failed")
        answer = client.post(f"/runs/{run['id']}/retry", json={"retry": "none"})
        assert (answer.status_code, answer.json()["detail"][:32]) == (409, "retry: the run has no schedule, ")


def test_probes_answer_while_another_process_writes_to_the_registry(tmp_path: Path) -> None:
    settings = ManagerSettings(data_root=tmp_path / "data", manager_database=tmp_path / "manager.sqlite")
    with TestClient(create_app(settings)) as client, closing(sqlite3.connect(settings.manager_database)) as other:
        client.post("/runs", json={"input": "scans", "output": "digits"})
        other.execute("BEGIN IMMEDIATE")
        with ThreadPoolExecutor(1) as threads:
            waiting = threads.submit(client.post, "/runs", json={"input": "scans", "output": "more"})
            for _ in range(5):
                started = monotonic()
                assert client.get("/health/ready").status_code in (200, 503)
                assert client.get("/health/live").status_code == 200
                assert monotonic() - started < 2.5  # a check may take one second
            other.rollback()
            assert waiting.result().status_code == 201
