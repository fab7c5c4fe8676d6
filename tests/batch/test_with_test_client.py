"""The manager in this process, by FastAPI's TestClient, with a registry and a data root of its own."""

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


def test_folder_that_cannot_be_created_is_one_line_that_names_the_setting(tmp_path: Path) -> None:
    wrong: dict[str, Any] = {"data_root": Path("/proc/no/data"), "manager_database": Path("/proc/no/state.sqlite")}
    for name, path in wrong.items():
        given = {"data_root": tmp_path / "data", "manager_database": tmp_path / "state.sqlite"} | {name: path}
        with pytest.raises(SystemExit, match=f"nothing can be written into /proc/no.*: set {name.upper()} to"):
            create_app(ManagerSettings(**given))
