"""batch on a real engine: the manager, a cluster of Dask or Spark beside it, and the job that Kubernetes starts."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import yaml

from tests.support.docker import Composed, inside, inspect
from tests.support.patterns.front_services import finished
from tests.support.processes import ROOT, output_of, wait_until

pytestmark = [
    pytest.mark.docker,
    pytest.mark.full,
    pytest.mark.timeout(600),
    pytest.mark.parametrize("project", ["batch"], indirect=True, scope="package"),
]

DAYS, ROWS = 2, 2_000
HARDENED = ("--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", "--security-opt=no-new-privileges")
READ = """
import json, pathlib, pyarrow.parquet as pq
parts = sorted(pathlib.Path("/data/{}").glob("part-*.parquet"))
print(json.dumps([list(row.values()) for part in parts for row in pq.ParquetFile(part).read().to_pylist()]))"""
PROCESSES = """
import pathlib
print(*[file.read_text().split("\\0")[:4] for file in pathlib.Path("/proc").glob("[0-9]*/cmdline")])"""


@pytest.fixture(scope="module")
def scans(project: Composed) -> Iterator[None]:
    """In the manager's volume; in the end the manager runs again, whichever took its place."""
    sample = ("batch.sample", "/data/scans", f"--days={DAYS}", f"--rows={ROWS // DAYS}")
    project.compose("exec", "--no-TTY", "batch", "python", "-m", *sample)
    yield
    project.compose("stop", "--timeout=0")
    project.compose("up", "--detach", "--wait", "batch")


@pytest.fixture(scope="module")
def local(project: Composed, scans: None) -> Any:
    """What the engine `local` reads."""
    return answers(project, "batch", "local")


def answers(project: Composed, service: str, engine: str) -> Any:
    """Have a run done by an engine, and give the rows of its output."""
    url, output = f"http://127.0.0.1:{project.port}/runs", f"by-{engine}"
    asked = httpx.post(url, json={"input": "scans", "output": output, "engine": engine}, timeout=10)
    assert asked.status_code == 201, asked.text
    run = finished(url, asked.json()["id"], seconds=300)
    assert (run["state"], run["errors"]) == ("done", [])
    assert (run["progress"]["rows"], run["progress"]["rejected"]) == (ROWS, DAYS)
    return json.loads(inside(project.container(service), READ.format(output)))


def test_a_run_is_done_and_leaves_no_process_behind(project: Composed, local: Any) -> None:
    assert len(local) == ROWS - DAYS
    assert {digit for _, digit, *_ in local} <= set(range(10))
    wait_until(lambda: "batch.job" not in inside(project.container("batch"), PROCESSES))
    assert "multiprocessing" not in inside(project.container("batch"), PROCESSES)


def test_the_manager_ends_with_0_as_the_front_services_of_the_others_do(project: Composed, scans: None) -> None:
    """Also under an init: as a process with a parent, uvicorn alone would end by the signal that it was asked with."""
    manager = project.container("batch")
    project.compose("stop", "batch")
    assert inspect(manager)["State"]["ExitCode"] == 0
    project.compose("up", "--detach", "--wait", "batch")


def test_the_command_of_the_cronjob_reads_yesterday_and_then_has_nothing_to_do(project: Composed, local: Any) -> None:
    every = yaml.safe_load_all((ROOT / "batch" / "k8s.yaml").read_text())
    (cron,) = (one for one in every if one["kind"] == "CronJob")
    (container,) = cron["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    volume = f"--volume={project.environment['COMPOSE_PROJECT_NAME']}_batch:/data"
    run = ("docker", "run", "--rm", *HARDENED, volume, "--network=none", "serving-patterns-batch")
    assert output_of(*run, *container["command"]).startswith(f"done: {ROWS // DAYS:,} rows")
    assert output_of(*run, *container["command"]).endswith("is finished: nothing to do")


@pytest.mark.parametrize("engine", ["dask", "spark"])
def test_an_engine_that_the_image_lacks_is_refused_with_the_name_of_the_image_that_has_it(
    project: Composed, scans: None, engine: str
) -> None:
    run = {"input": "scans", "output": f"refused-{engine}", "engine": engine}
    for path, body in (("runs", run), ("schedules", {**run, "name": "nightly", "rule": "daily", "output": "{date}"})):
        refused = httpx.post(f"http://127.0.0.1:{project.port}/{path}", json=body, timeout=10)
        assert refused.status_code == 422
        assert f"Use the image serving-patterns-batch-{engine} " in refused.json()["detail"]
    options = ("--input=/data/scans", f"--output=/data/refused-{engine}", f"--engine={engine}")
    command = f"python -m batch.job run {' '.join(options)} 2>&1 || true"
    said = project.compose("exec", "--no-TTY", "batch", "sh", "-c", command)
    assert said.startswith(f"failed: engine: {engine} is not installed here")


@pytest.mark.parametrize("engine", ["dask", "spark"])
def test_a_cluster_gives_the_same_rows(project: Composed, local: Any, engine: str) -> None:
    """One manager at a time has the port and the volumes."""
    project.compose("stop", "--timeout=0")
    project.compose("up", "--build", "--wait", "--scale", f"batch-{engine}-worker=2", f"batch-{engine}")
    found = answers(project, f"batch-{engine}", engine)
    assert [row[:2] for row in found] == [row[:2] for row in local]
    assert [row[2] for row in found] == pytest.approx([row[2] for row in local], abs=1e-5)
