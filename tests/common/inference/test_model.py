"""Any ONNX graph: whatever its inputs, shapes and batch, each request gets its own answer or a problem of its own."""

import os
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from common.inference.model import InvalidInput, Model
from common.inference.tensor_spec import ANY
from common.training.data import all_scans
from tests.support.models.onnx_models import save, tensor
from tests.support.processes import output_of
from tests.support.samples import MLP, SEVEN_PIXELS
from tests.support.service_process import serving

NODE = helper.make_node


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "model.onnx"


def floats(*shape: int) -> NDArray[np.float32]:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


# Metadata


def test_model_describes_its_inputs_and_outputs() -> None:
    model = Model.load(str(MLP))
    assert [tuple(spec) for spec in model.inputs] == [("features", np.dtype(np.float32), (ANY, 64), ())]
    assert [(spec.name, spec.dtype, spec.shape) for spec in model.outputs] == [
        ("label", np.dtype(np.int64), (ANY,)),
        ("probabilities", np.dtype(np.float32), (ANY, 10)),
    ]
    assert (model.is_batched, model.fixed_batch_size) == (True, None)


# Shapes of all kinds


@pytest.mark.parametrize(("length", "shape"), [("l", (ANY,) * 4), (16, (ANY, 3, 5, 2))])
def test_an_output_without_a_declared_shape_has_lengths_only_if_the_inputs_fix_them(
    file: Path, length: int | str, shape: tuple[int, ...]
) -> None:
    node, output = NODE("STFT", ["x", "step", "window"], ["y"]), tensor("y", None)
    constants = {"step": np.array(4), "window": np.ones(8, np.float32)}
    model = Model.load(save(file, [node], [tensor("x", ["n", length])], [output], **constants))
    assert [spec.shape for spec in model.outputs] == [shape]


def test_a_model_with_two_inputs_gets_each_by_its_name(file: Path) -> None:
    model = Model.load(
        save(
            file,
            [NODE("Sub", ["a", "b"], ["c"])],
            [tensor("a", ["n", 2]), tensor("b", ["n", 2])],
            [tensor("c", ["n", 2])],
        )
    )
    assert [spec.name for spec in model.inputs] == ["a", "b"]
    outputs = model.run({"b": floats(3, 2), "a": 10 * floats(3, 2)})
    np.testing.assert_array_equal(outputs["c"], 9 * floats(3, 2))


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("rows", [1, 3, 4, 5, 9])
def test_fixed_batch_size_accepts_fewer_and_more_rows(file: Path, batch: int, rows: int) -> None:
    nodes = [NODE("Mul", ["x", "two"], ["y"])]
    model = Model.load(save(file, nodes, [tensor("x", [batch, 3])], [tensor("y", [batch, 3])], two=np.float32(2)))
    assert (model.is_batched, model.fixed_batch_size) == (True, batch)
    np.testing.assert_array_equal(model.run({"x": floats(rows, 3)})["y"], 2 * floats(rows, 3))


def test_model_with_a_fixed_batch_size_answers_lists_of_any_length_in_order(tmp_path: Path) -> None:
    model = onnx.load(MLP)
    for value in (model.graph.input[0], *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 4
    onnx.save(model, tmp_path / "fixed.onnx")
    free, features = Model.load(str(MLP)), all_scans().features
    with serving(model_uri=tmp_path / "fixed.onnx") as server:
        for rows in (1, 3, 4, 5, 9):
            readings = server.read([{"pixels": row.tolist()} for row in features[:rows]]).json()
            expected = free.run({"features": features[:rows]})["probabilities"]
            np.testing.assert_allclose([reading["probabilities"] for reading in readings], expected, atol=1e-5)


def test_model_whose_first_axis_does_not_count_rows_is_not_batched(file: Path) -> None:
    nodes = [NODE("ReduceSum", ["x"], ["total"], keepdims=0)]
    model = Model.load(save(file, nodes, [tensor("x", ["length"])], [tensor("total", [])]))
    assert not model.is_batched
    assert model.run({"x": floats(5)})["total"] == 10


def test_a_scalar_input_has_no_batch_axis(file: Path) -> None:
    model = Model.load(save(file, [NODE("Neg", ["x"], ["y"])], [tensor("x", [])], [tensor("y", [])]))
    assert not model.is_batched
    assert model.run({"x": np.array(3, np.float32)})["y"] == -3


def test_a_second_free_axis_takes_any_length(file: Path) -> None:
    nodes = [NODE("ReduceSum", ["x", "axis"], ["total"], keepdims=0)]
    path = save(file, nodes, [tensor("x", ["n", "length"])], [tensor("total", ["n"])], axis=np.array([1]))
    model = Model.load(path)
    assert (model.is_batched, model.inputs[0].shape) == (True, (ANY, ANY))
    for length in (1, 2, 7):
        np.testing.assert_array_equal(model.run({"x": floats(3, length)})["total"], floats(3, length).sum(axis=1))


def test_strings_go_in_and_come_out(file: Path) -> None:
    nodes = [
        NODE("LabelEncoder", ["word"], ["number"], domain="ai.onnx.ml", keys_strings=["a", "b"], values_int64s=[1, 2]),
        NODE("LabelEncoder", ["number"], ["name"], domain="ai.onnx.ml", keys_int64s=[1, 2], values_strings=["A", "B"]),
    ]
    kind = TensorProto.STRING
    model = Model.load(save(file, nodes, [tensor("word", [None], kind)], [tensor("name", [None], kind)]))
    outputs = model.run({"word": np.array(["b", "a", "b"], object)})
    assert outputs["name"].tolist() == ["B", "A", "B"]


# Values that a model rejects


def picky(path: Path) -> str:
    """Reads digits, and looks up the top left pixel in a table of ten: 10 and above are beyond it."""
    model = onnx.load(MLP)
    model.graph.output.pop()
    model.graph.output.append(tensor("checked", [None, 10]))
    model.graph.node.extend(
        [
            NODE("Slice", ["features", "from", "to", "axis"], ["corner"]),
            NODE("Cast", ["corner"], ["index"], to=TensorProto.INT64),
            NODE("Gather", ["table", "index"], ["found"]),
            NODE("Add", ["probabilities", "found"], ["checked"]),
        ]
    )
    constants = {"from": np.array([0]), "to": np.array([1]), "axis": np.array([1]), "table": np.zeros(10, np.float32)}
    model.graph.initializer.extend(onnx.numpy_helper.from_array(value, name) for name, value in constants.items())
    onnx.save(model, path)
    return str(path)


def test_values_that_the_model_rejects_are_invalid_input(file: Path) -> None:
    model = Model.load(picky(file))
    with pytest.raises(InvalidInput, match="cannot process this input"):
        model.run({"features": np.full((1, 64), 12, np.float32)})


def test_request_that_the_model_rejects_fails_alone_in_its_batch(file: Path) -> None:
    good, bad = {"pixels": SEVEN_PIXELS}, {"pixels": [12.0, *SEVEN_PIXELS[1:]]}
    with serving(model_uri=picky(file)) as server:
        responses = server.read_all([bad if number % 5 == 0 else good for number in range(200)])
        batches = server.metric("batch_rows_count")
        for number, response in enumerate(responses):
            if number % 5 == 0:
                assert response.status_code == 422, response.text
                assert "cannot process this input" in response.json()["detail"]
            else:
                assert response.json()["digit"] == 7
        assert batches < 200, "no two requests shared a batch: this test has shown nothing"


# Threads


def test_an_inference_has_as_many_threads_as_the_process_has_cores() -> None:
    """Asked of a process that is bound to one core; how cores are counted is in test_cpu_quota.py."""
    code = f"from common.inference.model import Model; print(Model.load({str(MLP)!r}).threads)"
    core = str(min(os.sched_getaffinity(0)))
    assert output_of("taskset", "--cpu-list", core, sys.executable, "-c", code) == "1"


def test_model_threads_overrides_the_quota() -> None:
    assert Model.load(str(MLP), threads=3).threads == 3
