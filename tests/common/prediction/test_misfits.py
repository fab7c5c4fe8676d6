"""A service that needs the domain ends at start where its model does not fit, with one line that says why."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from tests.support.models.onnx_models import save, tensor
from tests.support.processes import ROOT
from tests.support.service_process import starting

full = partial(pytest.param, marks=pytest.mark.full)
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
