"""A service that needs the domain ends at start where its model does not fit, with one line that says why."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from common import domain
from common.inference.model import Model
from common.inference.model_file import read_model_file
from common.prediction.domain_model import DomainModel
from common.prediction.output import InvalidNumber, to_prediction
from common.prediction.required_model import require_classes, require_domain
from tests.support.models.onnx_models import save, tensor
from tests.support.processes import ROOT
from tests.support.samples import SEVEN_JSON, SEVEN_PIXELS
from tests.support.service_process import serving, starting

full = partial(pytest.param, marks=pytest.mark.full)
UINT8, INT64, DOUBLE, HALF = TensorProto.UINT8, TensorProto.INT64, TensorProto.DOUBLE, TensorProto.FLOAT16
QUALITY = ROOT / "common" / "models" / "quality.onnx"


def renamed_reader(path: Path) -> str:
    """64 numbers in and 10 probabilities out, by other names than services ask for."""
    weights = np.resize(np.linspace(-0.1, 0.1, 7, dtype=np.float32), (64, 10))
    return save(
        path,
        [helper.make_node("MatMul", ["x", "weights"], ["scores"]), helper.make_node("Softmax", ["scores"], ["y"])],
        [tensor("x", ["n", 64])],
        [tensor("y", ["n", 10])],
        weights=weights,
    )


def domain_model(path: str) -> DomainModel:
    return DomainModel(Model(read_model_file(path)))


def reader_of(path: Path, kind: int, width: int = 64, classes: int = 10) -> str:
    """A reader by the domain's names, whose input has this data type and width."""
    weights = np.resize(np.linspace(-0.1, 0.1, 7, dtype=np.float32), (width, classes))
    return save(
        path,
        [
            helper.make_node("Cast", ["features"], ["x"], to=TensorProto.FLOAT),
            helper.make_node("MatMul", ["x", "weights"], ["scores"]),
            helper.make_node("Softmax", ["scores"], ["probabilities"]),
        ],
        [tensor("features", ["n", width], kind)],
        [tensor("probabilities", ["n", classes])],
        weights=weights,
    )


@pytest.mark.parametrize("pattern", ["synchronous", *map(full, ["asynchronous", "microservice_horizontal"])])
def test_a_model_of_another_domain_ends_the_process_with_one_line(pattern: str) -> None:
    with starting(f"{pattern}.predictor:create_app", model_uri=QUALITY) as server:
        assert server.process.wait(30) == 1
        (line,) = server.log.read_text().splitlines()
        assert line == "cannot start: the model quality reads no digits: expected one output of 10 probabilities a row"


@pytest.mark.parametrize("pattern", ["synchronous", *map(full, ["microservice_vertical", "microservice_horizontal"])])
def test_a_model_that_no_other_service_could_ask_by_name_ends_the_process(pattern: str, tmp_path: Path) -> None:
    model = renamed_reader(tmp_path / "renamed.onnx")
    with starting(f"{pattern}.predictor:create_app", model_uri=model) as server:
        assert server.process.wait(30) == 1
        (line,) = server.log.read_text().splitlines()
        assert line == "cannot start: the model renamed does not turn features into probabilities"


@pytest.mark.parametrize("pattern", ["synchronous", *map(full, ["microservice_vertical", "microservice_horizontal"])])
def test_a_model_that_would_reject_all_that_its_proxy_sends_ends_the_process(pattern: str, tmp_path: Path) -> None:
    model = reader_of(tmp_path / "wide.onnx", DOUBLE)
    with starting(f"{pattern}.predictor:create_app", model_uri=model) as server:
        assert server.process.wait(30) == 1
        (line,) = server.log.read_text().splitlines()
    takes, sent = "takes features as float64 of shape (n, 64)", "send it as float32 of shape (n, 64)"
    assert line == f"cannot start: the model wide {takes}, but other services {sent}"


NO_DIGITS = "reads no digits: expected one"


@pytest.mark.parametrize(
    ("stage", "width", "classes", "reason"),
    [
        ("mlp", 64, 2, f"{NO_DIGITS} output of 10 probabilities a row"),
        full("specialist", 64, 2, f"{NO_DIGITS} output of 10 probabilities a row"),
        full("mlp", 32, 10, f"{NO_DIGITS} input of 64 floats a row"),
        ("quality", 64, 10, "gives probabilities of shape (n, 10), but this service needs 2 classes"),
        full("quality", 64, 3, "gives probabilities of shape (n, 3), but this service needs 2 classes"),
        full("quality", 32, 2, "takes features as float32 of shape (n, 32), but other services send it as float32 of"),
    ],
)
def test_a_stage_of_another_width_ends_the_process(
    stage: str, width: int, classes: int, reason: str, tmp_path: Path
) -> None:
    """Each answer of it would be a 502 of the proxy."""
    model = reader_of(tmp_path / "other.onnx", TensorProto.FLOAT, width, classes)
    with starting("microservice_vertical.predictor:create_app", model_uri=model, model_name=stage) as server:
        assert server.process.wait(30) == 1
        (line,) = server.log.read_text().splitlines()
    assert line.startswith(f"cannot start: the model {stage} {reason}")


def test_a_quality_model_gives_probabilities_of_two_classes(tmp_path: Path) -> None:
    weights = np.resize(np.linspace(-0.1, 0.1, 7, dtype=np.float32), (64, 2))
    tables = [tensor("features", ["n", 64])], [tensor("probabilities", ["n", 2])]
    node = helper.make_node("MatMul", ["features", "weights"], ["probabilities"])
    scores = Model(read_model_file(save(tmp_path / "scores.onnx", [node], *tables, weights=weights)))
    with pytest.raises(SystemExit, match="the model scores gives no probabilities for the domain's example"):
        require_classes(scores, 2)
    require_classes(Model(read_model_file(str(QUALITY))), 2)


def test_other_services_expect_floats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Integers may have the sum 1, too, but a proxy would reject each answer. A domain's own `check` need not look."""
    monkeypatch.setattr(domain, "check", lambda model: None)
    weights = np.resize(np.linspace(-0.1, 0.1, 7, dtype=np.float32), (64, 10))
    nodes = [
        helper.make_node("MatMul", ["features", "weights"], ["scores"]),
        helper.make_node("Hardmax", ["scores"], ["best"]),
        helper.make_node("Cast", ["best"], ["probabilities"], to=INT64),
    ]
    tables = [tensor("features", ["n", 64])], [tensor("probabilities", ["n", 10], INT64)]
    model = Model(read_model_file(save(tmp_path / "best.onnx", nodes, *tables, weights=weights)))
    require_domain(model)
    with pytest.raises(SystemExit, match="the model best gives probabilities as int64, but other services"):
        require_domain(model, tensors=True)


def test_a_model_that_would_cut_floats_off_does_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As bytes, 16.5 is 16, and 300 is 44. A domain's own `check` need not think of that."""
    monkeypatch.setattr(domain, "check", lambda model: None)
    found = {kind: domain_model(reader_of(tmp_path / "bytes.onnx", kind)) for kind in (UINT8, INT64, DOUBLE, HALF)}
    assert found[UINT8].misfit == "the model bytes takes features as uint8, which cannot hold the domain's float32"
    assert found[INT64].misfit == "the model bytes takes features as int64, which cannot hold the domain's float32"
    assert found[DOUBLE].misfit is found[HALF].misfit is None


def test_a_model_without_a_softmax_does_not_fit(tmp_path: Path) -> None:
    """Its scores would be written as probabilities, or every job and every letter would fail."""
    weights = np.resize(np.linspace(-0.1, 0.1, 7, dtype=np.float32), (64, 10))
    node = helper.make_node("MatMul", ["features", "weights"], ["probabilities"])
    tables = [tensor("features", ["n", 64])], [tensor("probabilities", ["n", 10])]
    found = domain_model(save(tmp_path / "scores.onnx", [node], *tables, weights=weights)).misfit
    assert found is not None
    assert found.startswith("the model scores gives no probabilities for the domain's example: the numbers in prob")


def test_a_model_with_another_number_of_classes_does_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its fourth class would have no label: an IndexError for some inputs. A domain's own `check` need not count."""
    monkeypatch.setattr(domain, "check", lambda model: None)
    monkeypatch.setattr(domain, "LABELS", domain.LABELS[:9])
    found = domain_model(reader_of(tmp_path / "ten.onnx", TensorProto.FLOAT)).misfit
    assert found == "the model ten gives probabilities of shape (n, 10), but the domain has 9 labels"


def test_an_answer_never_holds_a_number_that_json_does_not_have(tmp_path: Path) -> None:
    """The model divides by what the blank first cell is not: 0/0 is NaN where it holds ink of 16."""
    nodes = [
        helper.make_node("Softmax", ["features"], ["shares"]),
        helper.make_node("Slice", ["shares", "zero", "ten", "one"], ["some"]),
        helper.make_node("ReduceSum", ["some", "one"], ["sum"], keepdims=1),
        helper.make_node("Div", ["some", "sum"], ["fine"]),
        helper.make_node("Slice", ["features", "zero", "one", "one"], ["corner"]),
        helper.make_node("Sub", ["full", "corner"], ["left"]),
        helper.make_node("Div", ["left", "left"], ["one_or_nan"]),
        helper.make_node("Mul", ["fine", "one_or_nan"], ["probabilities"]),
    ]
    constants: dict[str, Any] = {
        "zero": np.array([0]),
        "one": np.array([1]),
        "ten": np.array([10]),
        "full": np.array([16], np.float32),
    }
    tables = [tensor("features", ["n", 64])], [tensor("probabilities", ["n", 10])]
    model = save(tmp_path / "quotient.onnx", nodes, *tables, **constants)
    with serving(model_uri=model) as server:
        assert server.read(SEVEN_JSON).status_code == 200
        answer = server.read({"pixels": [16, *SEVEN_PIXELS[1:]]})
    assert answer.status_code == 500
    assert answer.json()["detail"] == "the model quotient gave no finite numbers for this input"


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_nor_does_one_that_the_domain_makes_of_finite_outputs(number: float) -> None:
    """As `exp` does of the logarithm of a price. A text may hold any word."""
    model = domain_model(str(ROOT / "common" / "models" / "mlp.onnx"))
    assert model.to_json({"label": "NaN, Infinity", "price": 1.5}) == b'{"label":"NaN, Infinity","price":1.5}'
    with pytest.raises(InvalidNumber, match="the model mlp gave no finite numbers for this input"):
        model.to_json([{"price": 1.5}, {"price": number}])


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_nor_does_one_made_of_the_outputs_of_another_service(number: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """pydantic would write it as null."""
    digit = {"digit": 7, "confidence": number, "probabilities": [0.1] * 10, "model": {"name": "mlp", "version": "1"}}
    monkeypatch.setattr(domain, "to_outputs", lambda outputs, model: [digit])
    with pytest.raises(InvalidNumber, match="the model mlp gave no finite numbers for this input"):
        to_prediction({}, "mlp", "1")
