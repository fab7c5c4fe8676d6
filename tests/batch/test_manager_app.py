"""The manager's app: started again, with a registry that another process writes to, and runs without a schedule."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from time import monotonic

from fastapi.testclient import TestClient

from batch.manager import create_app
from batch.settings import ManagerSettings
from tests.support.processes import wait_until


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
            for _ in range(2):  # two seconds at most: a POST waits five for the registry
                started = monotonic()
                assert client.get("/health/ready").status_code in (200, 503)
                assert client.get("/health/live").status_code == 200
                assert monotonic() - started < 2.5  # a check may take one second
            other.rollback()
            assert waiting.result().status_code == 201
