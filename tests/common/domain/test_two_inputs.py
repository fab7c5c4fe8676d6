"""A regression with two inputs fits the same contract: in process, over the network, as a job, and in a data set."""

from pathlib import Path
from shutil import copyfile, rmtree
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from onnx import TensorProto, helper

from tests.support.models.onnx_models import save, tensor
from tests.support.patterns.front_services import finished
from tests.support.patterns.start import copied, predictor_over, started
from tests.support.processes import ROOT, wait_until

PARCELS: list[dict[str, Any]] = [{"weights": [1.0, 2.0, 3.5], "zone": 4}, {"weights": [0.5, 0.0, 0.0], "zone": 1}]
PRICES = [26.0, 0.5]
NODE = helper.make_node


@pytest.fixture
def project(pattern: str, tmp_path: Path) -> Path:
    """A copy of the pattern with this domain and a model: the sum of the weights, times the zone."""
    copied(pattern, tmp_path)
    rmtree(tmp_path / "common" / "domain")
    (tmp_path / "common" / "domain").mkdir()
    copyfile(ROOT / "tests" / "support" / "inputs" / "parcel_domain.py", tmp_path / "common" / "domain" / "__init__.py")
    save(
        tmp_path / "parcels.onnx",
        [
            NODE("ReduceSum", ["weights", "axis"], ["sum"], keepdims=1),
            NODE("Cast", ["zone"], ["factor"], to=TensorProto.FLOAT),
            NODE("Mul", ["sum", "factor"], ["price"]),
        ],
        [tensor("weights", ["n", 3]), tensor("zone", ["n", 1], TensorProto.INT64)],
        [tensor("price", ["n", 1])],
        axis=[1],
    )
    return tmp_path


@pytest.mark.timeout(120)
@pytest.mark.parametrize("pattern", ["web_single"])
def test_web_single_predicts_and_says_what_is_wrong(pattern: str, project: Path) -> None:
    with started(pattern, project, MODEL_URI="parcels.onnx") as (_, ports):
        url = f"http://127.0.0.1:{ports['WEB_SINGLE_PORT']}/predict"
        assert [one["price"] for one in httpx.post(url, json=PARCELS).json()] == PRICES
        refused = httpx.post(url, json=PARCELS[0] | {"zone": "far"})
        assert refused.status_code == 422
        assert "zone: " in refused.json()["detail"]


@pytest.mark.full
@pytest.mark.timeout(120)
@pytest.mark.parametrize("pattern", ["synchronous"])
@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_a_proxy_sends_both_inputs_over_rest_and_grpc(pattern: str, scheme: str, project: Path) -> None:
    """A letter's bin needs a label, so a person sorts it; its prediction is there all the same."""
    with started(pattern, project, MODEL_URI="parcels.onnx", **predictor_over(scheme)) as (_, used):
        url = f"http://127.0.0.1:{used['SYNCHRONOUS_PORT']}/letters"
        wait_until(lambda: not httpx.post(url, json=PARCELS[0]).json()["degraded"])
        letters = [httpx.post(url, json=parcel).json() for parcel in PARCELS]
    assert [letter["prediction"]["price"] for letter in letters] == PRICES
    assert {letter["bin"] for letter in letters} == {"manual"}


@pytest.mark.full
@pytest.mark.timeout(120)
@pytest.mark.parametrize("pattern", ["asynchronous"])
def test_a_job_keeps_both_inputs_in_its_payload(pattern: str, project: Path) -> None:
    with started(pattern, project, MODEL_URI="parcels.onnx") as (_, ports):
        url = f"http://127.0.0.1:{ports['ASYNCHRONOUS_PORT']}"
        accepted = [httpx.post(f"{url}/jobs", json=parcel) for parcel in PARCELS]
        jobs = [httpx.get(f"{url}{one.headers['Location']}?wait=20", timeout=30).json() for one in accepted]
        assert [job["prediction"]["price"] for job in jobs] == PRICES


@pytest.mark.full
@pytest.mark.timeout(120)
@pytest.mark.parametrize("pattern", ["batch"])
def test_a_data_set_has_a_column_for_each_field(pattern: str, project: Path) -> None:
    data = project / ".state" / "batch" / "data"
    (data / "parcels").mkdir(parents=True)
    rows = [{"id": number} | parcel for number, parcel in enumerate([*PARCELS, {"weights": [1.0, 2.0], "zone": 1}])]
    pq.write_table(pa.Table.from_pylist(rows), data / "parcels" / "parcels.parquet")
    with started(pattern, project, MODEL_URI="parcels.onnx") as (_, ports):
        url = f"http://127.0.0.1:{ports['BATCH_PORT']}/runs"
        run = finished(url, httpx.post(url, json={"input": "parcels", "output": "prices"}).json()["id"])
    assert run["state"] == "done", run
    assert pq.read_table(data / "prices").column("price").to_pylist() == PRICES
    (rejected,) = pq.read_table(data / "prices" / "_rejected", partitioning=None).to_pylist()
    assert rejected == {"id": 2, "reason": "weights: expected 3 numbers"}
