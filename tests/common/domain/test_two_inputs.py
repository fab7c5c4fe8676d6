"""A regression with two inputs fits the same contract: in process, over the network, as a job, and in a data set."""

import os
import sys
from pathlib import Path
from shutil import copyfile, rmtree
from subprocess import run
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
@pytest.mark.parametrize("pattern", ["synchronous"])
@pytest.mark.parametrize("fallback", ["true", "false"])
def test_a_letter_never_holds_an_infinity_that_the_domain_makes_of_finite_outputs(
    pattern: str, fallback: str, project: Path
) -> None:
    """JSON has none, so a person sorts the letter; without the fallback it is the 500 that web_single answers."""
    domain = project / "common" / "domain" / "__init__.py"
    text = domain.read_text()
    domain.write_text(text.replace('{"price": price, "model"', '{"price": float(np.exp(price)), "model"'))
    with started(pattern, project, MODEL_URI="parcels.onnx", FALLBACK=fallback) as (_, ports):
        url = f"http://127.0.0.1:{ports['SYNCHRONOUS_PORT']}/letters"
        small = {"weights": [0.0, 0.0, 0.0], "zone": 1}
        wait_until(lambda: httpx.post(url, json=small).json().get("prediction"))
        assert httpx.post(url, json=small).json()["prediction"]["price"] == 1.0
        answer = httpx.post(url, json={"weights": [500.0, 500.0, 0.0], "zone": 2})
    if fallback == "true":
        letter = answer.json()
        assert (answer.status_code, letter["bin"], letter["degraded"]) == (200, "manual", True)
        assert letter["prediction"] is None
    else:
        assert answer.status_code == 500
        assert answer.json()["detail"] == "the model mlp gave no finite numbers for this input"


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


@pytest.mark.parametrize("pattern", ["batch"])
def test_a_domain_that_makes_no_columns_ends_the_job_with_one_sentence(pattern: str, project: Path) -> None:
    domain = project / "common" / "domain" / "__init__.py"
    domain.write_text(domain.read_text().replace('{"price": outputs["price"][:, 0]}', 'outputs["cost"]'))
    command = [sys.executable, "-m", "batch.job", "run", "--input", "data", "--output", "out"]
    env = {**os.environ, "MODEL_URI": "parcels.onnx"}
    ended = run(command, cwd=project, env=env, capture_output=True, text=True, check=False)
    expected = "common/domain/ makes no columns of the outputs of the model parcels (KeyError: 'cost')"
    assert (ended.returncode, ended.stderr) == (1, f"failed: {expected}\n")


@pytest.mark.full
@pytest.mark.timeout(120)
@pytest.mark.parametrize("pattern", ["batch"])
def test_a_field_that_is_a_boolean_is_read_from_booleans_or_numbers(pattern: str, project: Path) -> None:
    """A fragile parcel costs twice as much."""
    domain = project / "common" / "domain" / "__init__.py"
    text = domain.read_text().replace('"zone": 2}', '"zone": 2, "fragile": True}')
    text = text.replace("zone: int\n", "zone: int\n    fragile: bool\n").replace(
        "[[item.zone]", "[[item.zone * (1 + item.fragile)]"
    )
    domain.write_text(text.replace('columns["zone"]', '(columns["zone"] * (1 + columns["fragile"]))'))
    zones: dict[str, tuple[list[Any], list[Any]]] = {
        "booleans": ([4, 1, 1], [True, False, None]),
        "numbers": ([4, 1, 1], [1.0, 0.0, None]),
        "words": ([4, 1, 1], ["yes", "no", None]),
        "zones": ([True, True, True], [True, False, None]),
    }
    ended = {}
    for name, (zone, fragile) in zones.items():
        table = pa.table({"id": [0, 1, 2], "weights": [[1.0, 2.0, 3.5]] * 3, "zone": zone, "fragile": fragile})
        pq.write_table(table, project / f"{name}.parquet")
        command = [sys.executable, "-m", "batch.job", "run", "--input", f"{name}.parquet", "--output", name]
        env = {**os.environ, "MODEL_URI": "parcels.onnx"}
        ended[name] = run(command, cwd=project, env=env, capture_output=True, text=True, check=False)
    for name in ("booleans", "numbers"):
        assert ended[name].returncode == 0, ended[name].stderr
        assert pq.read_table(project / name).column("price").to_pylist() == [52.0, 6.5]
        (rejected,) = pq.read_table(project / name / "_rejected", partitioning=None).to_pylist()
        assert rejected["id"] == 2
    expected = (
        "expected the columns id and weights (a list of 3 float32), zone (a number), fragile (a boolean or a number)"
    )
    assert f"{expected}; got fragile as string" in ended["words"].stderr
    assert f"{expected}; got zone as bool" in ended["zones"].stderr
