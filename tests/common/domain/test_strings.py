"""Strings fit the contract too: over REST, over gRPC and as a job, into the model and out of it."""

import os
import sys
from pathlib import Path
from shutil import copyfile, rmtree
from subprocess import run
from typing import Any

import httpx
import pytest
from onnx import TensorProto, helper

from tests.support.models.onnx_models import save, tensor
from tests.support.patterns.start import copied, predictor_over, started
from tests.support.processes import ROOT, wait_until

HOUSES: list[dict[str, Any]] = [
    {"area": 50.0, "rooms": 2, "district": "centre"},
    {"area": 30.0, "rooms": 1, "district": "Ж€ beyond the river"},
]
PREDICTIONS = [(104.0, "city"), (31.0, "country")]
NODE = helper.make_node


def encoder(source: str, target: str, **attributes: Any) -> Any:
    return NODE("LabelEncoder", [source], [target], domain="ai.onnx.ml", keys_strings=["centre"], **attributes)


@pytest.fixture
def project(pattern: str, tmp_path: Path) -> Path:
    """A copy of the pattern with this domain and a model: area and rooms, times two in the centre; and the region."""
    copied(pattern, tmp_path)
    rmtree(tmp_path / "common" / "domain")
    (tmp_path / "common" / "domain").mkdir()
    copyfile(ROOT / "tests" / "support" / "inputs" / "house_domain.py", tmp_path / "common" / "domain" / "__init__.py")
    save(
        tmp_path / "houses.onnx",
        [
            NODE("ReduceSum", ["size", "axis"], ["sum"], keepdims=1),
            encoder("district", "factor", values_floats=[2.0], default_float=1.0),
            encoder("district", "region", values_strings=["city"], default_string="country"),
            NODE("Mul", ["sum", "factor"], ["price"]),
        ],
        [tensor("size", ["n", 2]), tensor("district", ["n", 1], TensorProto.STRING)],
        [tensor("price", ["n", 1]), tensor("region", ["n", 1], TensorProto.STRING)],
        axis=[1],
    )
    return tmp_path


def found(predictions: list[dict[str, Any]]) -> list[tuple[float, str]]:
    return [(one["price"], one["region"]) for one in predictions]


@pytest.mark.full
@pytest.mark.timeout(120)
@pytest.mark.parametrize("pattern", ["synchronous"])
@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_a_proxy_sends_and_reads_strings_over_rest_and_grpc(pattern: str, scheme: str, project: Path) -> None:
    with started(pattern, project, MODEL_URI="houses.onnx", **predictor_over(scheme)) as (_, used):
        url = f"http://127.0.0.1:{used['SYNCHRONOUS_PORT']}/letters"
        wait_until(lambda: not httpx.post(url, json=HOUSES[0]).json()["degraded"])
        assert found([httpx.post(url, json=house).json()["prediction"] for house in HOUSES]) == PREDICTIONS


@pytest.mark.full
@pytest.mark.timeout(120)
@pytest.mark.parametrize("pattern", ["asynchronous"])
def test_a_job_keeps_strings_in_its_payload(pattern: str, project: Path) -> None:
    with started(pattern, project, MODEL_URI="houses.onnx") as (_, ports):
        url = f"http://127.0.0.1:{ports['ASYNCHRONOUS_PORT']}"
        accepted = [httpx.post(f"{url}/jobs", json=house) for house in HOUSES]
        jobs = [httpx.get(f"{url}{one.headers['Location']}?wait=20", timeout=30).json() for one in accepted]
        assert found([job["prediction"] for job in jobs]) == PREDICTIONS


@pytest.mark.parametrize("pattern", ["asynchronous"])
def test_strings_without_a_width_end_the_process_with_one_line(pattern: str, project: Path) -> None:
    """As Python objects they would be kept and sent as addresses of memory."""
    domain = project / "common" / "domain" / "__init__.py"
    domain.write_text(domain.read_text().replace('STRING = "<U20"', "STRING = object"))
    ended = run(
        [sys.executable, "-c", "import asynchronous.proxy"], cwd=project, capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (
        1,
        "cannot start: the rows of district in common/domain/ have the dtype object: give strings a width, "
        "such as '<U20'\n",
    )


@pytest.mark.parametrize("pattern", ["batch"])
def test_a_batch_of_strings_fails_before_a_row_is_read(pattern: str, project: Path) -> None:
    """Columns are numbers; the chunks would fail, each with what numpy or a dict says of them."""
    command = [sys.executable, "-m", "batch.job", "run", "--input", "data", "--output", "out"]
    env = {**os.environ, "MODEL_URI": "houses.onnx"}
    ended = run(command, cwd=project, env=env, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1] == (
        "failed: common/domain/ has the field district, which is neither a number nor a list of numbers: "
        "batch cannot read it from a column"
    )
