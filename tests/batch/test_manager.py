"""The manager as its callers have it: what is asked for, refused and looked up, by requests."""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from tests.support.batch.manager import ROWS, Manager, assert_whole, filled_manager
from tests.support.processes import wait_until


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Manager]:
    with filled_manager(tmp_path_factory.mktemp("batch"), max_concurrent_runs=2) as service:
        yield service


@pytest.fixture
def slow(shared: Manager) -> Path:
    """The model of its jobs."""
    return shared.data.with_name("mlp.onnx")


def make_links(service: Manager) -> None:
    """Such as lead out of the data root, or nowhere; and a file."""
    for name, target in (("link", "/usr"), ("loop", "loop"), ("with-link/out.parquet", "/etc/passwd")):
        link = service.data / name
        link.parent.mkdir(exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(target)
    (service.data / "notes.txt").touch()


def test_finished_run_records_its_model_and_data(shared: Manager, slow: Path) -> None:
    before = shared.server.metric("rows_done_total")
    response = shared.server.client.post("/runs", json={"input": "scans", "output": str(shared.data / "abs/olute")})
    assert response.status_code == 201
    run_id = response.json()["id"]
    assert response.headers["Location"] == f"/runs/{run_id}"
    assert response.json()["output"] == "abs/olute"
    taken = shared.post("/runs", 409, input="slow", output="abs/../abs/olute")
    assert run_id in taken["detail"]
    run = shared.ended(run_id)
    assert_whole(shared, run)
    assert run["model"]["sha256"] == sha256(slow.read_bytes()).hexdigest()
    assert len(run["data_checksum"]) == 64
    assert run["attempts"] == 1
    assert run["created_at"] < run["started_at"] < run["finished_at"]
    assert shared.server.metric("rows_done_total") == before + ROWS
    wait_until(lambda: shared.server.metric("runs", state="done") >= 1)
    assert run in shared.server.get("/runs?state=done").json()
    assert shared.server.get("/runs?state=done&count=1").json()[0]["finished_at"]
    for action in ("cancel", "retry"):
        assert "done" in shared.post(f"/runs/{run_id}/{action}", 409)["detail"]
    assert "results of" in shared.post("/runs", 409, input="slow", output="abs/olute")["detail"]


@pytest.mark.parametrize(
    ("source", "output"),
    [
        ("../elsewhere", "out"),
        ("/etc", "out"),
        ("scans", "../out"),
        ("scans", "/tmp/out"),
        ("scans", "a/../../out"),
        ("link", "out"),
        ("link/inner", "out"),
        ("scans", "link/out"),
        ("with-link", "out"),
        ("loop", "out"),
        ("s3://bucket/scans", "out"),
        ("scans", "scans"),
        ("scans", "scans/out"),
        ("scans", "."),
        ("scans", "notes.txt"),
        ("scans", "notes.txt/out"),
        ("a/b", "a"),
        (["slow", "scans"], "scans"),
        ("scans\0", "out"),
        ("x" * 300, "out"),
        ("", "out"),
        ([], "out"),
        (7, "out"),
    ],
)
def test_paths_outside_data_root_or_inside_each_other_are_refused(shared: Manager, source: object, output: str) -> None:
    make_links(shared)
    response = shared.server.client.post("/runs", json={"input": source, "output": output})
    assert response.status_code == 422, response.text
    assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("source", "output"), [("scans", "../{date}"), ("link", "{date}"), ("scans", "scans/{date}"), ("{date}", "{date}")]
)
def test_paths_of_schedules_are_checked_in_the_same_way(shared: Manager, source: str, output: str) -> None:
    make_links(shared)
    refused = shared.post("/schedules", 422, name="a", rule="monthly", input=source, output=output)
    assert "leads out of it" in refused["detail"] or "a folder apart" in refused["detail"]


def test_unknown_ids_are_404_and_invalid_requests_422(shared: Manager) -> None:
    unknown = "00000000-0000-0000-0000-000000000000"
    for method, path in (
        ("GET", f"/runs/{unknown}"),
        ("POST", f"/runs/{unknown}/cancel"),
        ("POST", f"/runs/{unknown}/retry"),
        ("GET", f"/schedules/{unknown}"),
        ("DELETE", f"/schedules/{unknown}"),
    ):
        assert shared.server.client.request(method, path).status_code == 404
    assert shared.server.get("/runs/first").status_code == 422
    assert shared.server.get("/runs?state=lost").status_code == 422
    assert "Extra inputs" in shared.post("/runs", 422, input="scans", output="out", outptu="out")["detail"]
    assert (
        "first <= last"
        in shared.post("/runs", 422, input="a", output="b", first="2026-02-02", last="2026-02-01")["detail"]
    )
    shared.post("/runs", 422, input="scans", output="out", deadline_seconds=0)


def test_schedule_is_stored_listed_and_removed(shared: Manager) -> None:
    schedule = shared.schedule(rule="daily", time_zone="Europe/Berlin", output="out/{date}")
    assert schedule["next_due"] in [f"{day}T{hour}:00:00Z" for hour in (22, 23) for day in [schedule["next_due"][:10]]]
    assert schedule in shared.server.get("/schedules").json()
    assert shared.server.client.delete(f"/schedules/{schedule['id']}").status_code == 204
    assert schedule not in shared.server.get("/schedules").json()


@pytest.mark.parametrize("zone", ["localtime", "posix/Europe/Berlin"])
def test_time_zone_that_only_this_machine_knows_is_a_422(shared: Manager, zone: str) -> None:
    asked = {"name": "zone", "rule": "daily", "time_zone": zone, "input": "scans", "output": "out/{date}"}
    assert "time_zone: expected a name of the IANA database" in shared.post("/schedules", 422, **asked)["detail"]


def test_stored_schedule_whose_time_zone_is_gone_does_not_stop_the_others(shared: Manager) -> None:
    gone, other = shared.schedule(), shared.schedule(rule="daily", output="others/{date}")
    shared.has_zone(gone, "No/Where")
    assert {gone["id"], other["id"]} <= {schedule["id"] for schedule in shared.server.get("/schedules").json()}
    shared.is_due(gone)
    shared.is_due(other)
    assert len(shared.runs_of(other)) == 1
    for schedule in (gone, other):
        assert shared.server.client.delete(f"/schedules/{schedule['id']}").status_code == 204


@pytest.mark.parametrize("form", [{"name": "nightly"}, {"output": "./by-night/{date}/"}], ids=["name", "output"])
def test_schedule_with_the_name_or_output_of_another_is_a_409(shared: Manager, form: dict[str, str]) -> None:
    schedule = shared.schedule(name="nightly", output="by-night/{date}")
    usual = {"name": "other", "rule": "daily", "input": "scans", "output": "other/{date}"}
    detail = shared.post("/schedules", 409, **usual | form)["detail"]
    assert detail.startswith(f"{next(iter(form))}: the schedule {schedule['id']} has ")
    assert shared.server.client.delete(f"/schedules/{schedule['id']}").status_code == 204
    again = shared.post("/schedules", 201, **usual | form)
    assert shared.server.client.delete(f"/schedules/{again['id']}").status_code == 204
