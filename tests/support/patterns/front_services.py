"""The front service of each pattern: its port, and how it is asked for a digit."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import httpx

from tests.support.processes import ROOT, output_of, wait_until


def whole(answer: Any) -> Any:
    """The digit is the answer."""
    return answer


def sorted_letter(answer: Any) -> Any:
    """The digit is the prediction in the answer, and the letter went into its bin."""
    assert answer["bin"] == str(answer["prediction"]["digit"])
    return answer["prediction"]


def prediction(job: Any) -> Any:
    """The digit is that of a job that is done."""
    assert job["status"] == "done", job
    return job["prediction"]


def voted(answer: Any) -> Any:
    """The digit is what the votes became, and none is missing."""
    assert not answer["missing"], answer
    return answer


class FrontService(NamedTuple):
    """A front service: its default port, where it takes pictures, and the digit in its answers."""

    port: int
    path: str
    digit_in: Callable[[Any], Any] = whole

    def read(self, port: int, picture: str = "seven.png") -> Any:
        """What the service on this port reads in one of the sample pictures, with nothing missing."""
        content = (ROOT / "common" / "samples" / picture).read_bytes()
        url = f"http://127.0.0.1:{port}{self.path}"
        response = httpx.post(url, content=content, headers={"Content-Type": "image/png"}, timeout=10)
        if response.status_code == 202:  # a job, whose digit is fetched where it says
            url = f"http://127.0.0.1:{port}{response.headers['Location']}?wait=20"
            response = httpx.get(url, timeout=30)
        assert response.status_code == 200, response.text
        assert not response.json().get("degraded"), response.text
        return self.digit_in(response.json())


class BatchFrontService(FrontService):
    """It reads what is in a folder that it sees: beside it in its container, or on this machine."""

    def read(self, port: int, picture: str = "seven.png") -> Any:
        content = (ROOT / "common" / "samples" / picture).read_bytes()
        folder = f"test-{uuid4().hex[:8]}"
        beside(port, PUT, folder, content.hex())
        url = f"http://127.0.0.1:{port}{self.path}"
        response = httpx.post(url, json={"input": f"{folder}/scans", "output": f"{folder}/readings"}, timeout=10)
        assert response.status_code == 201, response.text
        run = finished(url, response.json()["id"])
        assert run["state"] == "done", run
        return json.loads(beside(port, GET, folder))


PUT = """
import sys, pathlib, pyarrow, pyarrow.parquet
from batch.settings import ManagerSettings
file = ManagerSettings().data_root / sys.argv[1] / "scans" / "scan.parquet"
file.parent.mkdir(parents=True)
pyarrow.parquet.write_table(pyarrow.table({"id": [1], "image": [bytes.fromhex(sys.argv[2])]}), file)"""
GET = """
import sys, json, pyarrow.parquet
from batch.settings import ManagerSettings
(row,) = pyarrow.parquet.read_table(ManagerSettings().data_root / sys.argv[1] / "readings").to_pylist()
print(json.dumps(row))"""


def beside(port: int, code: str, *arguments: str) -> str:
    """What Python code prints where the batch manager of this port is, with its environment."""
    if shutil.which("docker"):
        named = ("docker", "ps", "--quiet", f"--filter=publish={port}")
        found = subprocess.run(named, capture_output=True, text=True).stdout.split()
        if found:
            return output_of("docker", "exec", found[0], "python", "-c", code, *arguments)
    process = next(process for process in Path("/proc").glob("[0-9]*") if is_manager(process, port))
    variables = (process / "environ").read_text().split("\0")
    environment = dict(variable.split("=", 1) for variable in variables if "=" in variable)
    return output_of(sys.executable, "-c", code, *arguments, folder=(process / "cwd").resolve(), **environment)


def is_manager(process: Path, port: int) -> bool:
    try:
        command = (process / "cmdline").read_text().split("\0")
    except OSError:
        return False  # it has ended
    return {"batch.manager:create_app", str(port)} <= {*command}


def finished(url: str, run_id: str, seconds: float = 60.0) -> Any:
    """A run that is neither waiting nor running any more."""
    with httpx.Client(base_url=url) as client:
        wait_until(lambda: client.get(f"/{run_id}").json()["state"] not in ("queued", "running"), seconds)
        return client.get(f"/{run_id}").json()


FRONT_SERVICES: dict[str, FrontService] = {
    "web_single": FrontService(8001, "/predict"),
    "synchronous": FrontService(8002, "/letters", sorted_letter),
    "asynchronous": FrontService(8003, "/jobs", prediction),
    "batch": BatchFrontService(8004, "/runs"),
    "microservice_vertical": FrontService(8005, "/predict"),
    "microservice_horizontal": FrontService(8006, "/predict", voted),
}
