"""A model that this repository did not train: served by MODEL_URI alone; 409 on `/predict` if it does not fit."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import helper
from skl2onnx import to_onnx
from skl2onnx.common.data_types import DoubleTensorType
from sklearn.ensemble import RandomForestClassifier

from common.inference.model import Model
from common.inference.tensor_spec import ANY
from common.training.data import all_scans
from tests.support.models.onnx_models import save, tensor
from tests.support.samples import SEVEN_PIXELS
from tests.support.service_process import Server, serving

NODE = helper.make_node


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier that this repository did not train: ZipMap left on, string labels, double input."""
    return foreign_classifier(tmp_path_factory.mktemp("models") / "foreign.onnx", all_scans().labels.astype(str))


def foreign_classifier(path: Path, labels: NDArray[np.str_]) -> Path:
    classifier = RandomForestClassifier(20, random_state=0).fit(all_scans().features.astype(np.float64), labels)
    model = to_onnx(classifier, initial_types=[("x", DoubleTensorType([None, 64]))])
    assert model.graph.node[-1].op_type == "ZipMap"
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture(scope="module")
def foreign_server(foreign: Path) -> Iterator[Server]:
    with serving(model_uri=foreign) as server:
        yield server


def test_foreign_classifier_is_served_by_model_uri_alone(foreign_server: Server, foreign: Path) -> None:
    scans = all_scans()
    digits = foreign_server.read([{"pixels": row.tolist()} for row in scans.features[:50]]).json()
    right = [digit["digit"] == label for digit, label in zip(digits, scans.labels, strict=False)]
    assert sum(right) >= 49
    version = hashlib.sha256(foreign.read_bytes()).hexdigest()[:12]
    assert digits[0]["model"] == {"name": "foreign", "version": version}


def test_the_columns_of_a_foreign_classifier_are_in_the_order_of_the_digits(foreign_server: Server) -> None:
    scans = all_scans()
    for digit in range(10):
        row = scans.features[scans.labels == digit][0]
        reading = foreign_server.read({"pixels": row.tolist()}).json()
        assert reading["probabilities"].index(max(reading["probabilities"])) == digit == reading["digit"]
        assert sum(reading["probabilities"]) == pytest.approx(1, abs=1e-4)


def test_labels_of_a_zipmap_name_the_columns_of_its_output(foreign: Path) -> None:
    model = Model.load(str(foreign))
    (probabilities,) = [spec for spec in model.outputs if spec.labels]
    assert probabilities.labels == tuple("0123456789")
    assert probabilities.shape == (ANY, 10)
    assert model.inputs[0].dtype == np.float64


def test_model_with_other_labels_does_not_fit_the_domain(tmp_path: Path) -> None:
    words = np.char.add("digit ", all_scans().labels.astype(str))
    with serving(model_uri=foreign_classifier(tmp_path / "words.onnx", words)) as server:
        response = server.read({"pixels": SEVEN_PIXELS})
        assert response.status_code == 409
        assert "words reads no digits" in response.json()["detail"]


def test_model_that_does_not_fit_the_domain_is_ready_and_predict_answers_409(tmp_path: Path) -> None:
    adder = save(
        tmp_path / "adder.onnx",
        [NODE("Add", ["a", "b"], ["sum"])],
        [tensor("a", ["n", 3]), tensor("b", ["n", 3])],
        [tensor("sum", ["n", 3])],
    )
    with serving(model_uri=adder) as server:
        response = server.read({"pixels": SEVEN_PIXELS})
        assert response.status_code == 409
        assert response.headers["content-type"] == "application/problem+json"
        assert "adder reads no digits: " in response.json()["detail"]
