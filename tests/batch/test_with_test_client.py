"""The manager in this process, by FastAPI's TestClient, with a registry and a data root of its own."""

import gzip
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from batch.manager import create_app
from batch.settings import ManagerSettings


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
