"""Random small graphs, asked by every way of the protocol, alone and by eight callers at once, beside onnxruntime."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from onnx import TensorProto, helper

from common.service.problems import Problem
from tests.support.models import foreign_models as kinds
from tests.support.models.onnx_models import save, tensor
from tests.support.open_inference.in_process import WAYS, InProcess, assert_same, in_process
from tests.support.open_inference.tensors import Arrays, by_onnxruntime

NODE = helper.make_node
ROWS = [NODE(name, ["x"], ["y"]) for name in ("Relu", "Abs", "Floor", "Identity", "Sign")]
MIXING = [
    NODE("CumSum", ["x", "zero"], ["y"]),
    NODE("Softmax", ["x"], ["y"], axis=0),
    NODE("ReduceSum", ["x"], ["y"], keepdims=0),
    NODE("ReduceMax", ["x", "zeros"], ["y"], keepdims=0),
    NODE("Transpose", ["x"], ["y"]),
    NODE("Shape", ["x"], ["y"]),
    NODE("NonZero", ["x"], ["y"]),
    NODE("Concat", ["x", "x"], ["y"], axis=0),
    NODE("Reshape", ["x", "flat"], ["y"]),
    NODE("TopK", ["x", "ones"], ["values", "y"], axis=0),
]
INTEGERS = ("Shape", "NonZero", "TopK")
CONSTANTS = {"zero": np.array(0), "zeros": np.array([0]), "ones": np.array([1]), "flat": np.array([-1])}


def assert_served(served: InProcess, requests: list[Arrays], expected: list[Arrays]) -> None:
    """The first alone, over each way, then all together: each gets what onnxruntime gives it."""
    for way in WAYS:
        assert_same(served.infer(way, requests[0]), expected[0])
    for got, right in zip(served.infer_together("grpc", requests), expected, strict=True):
        assert_same(got, right)


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[int | str | None], int, list[list[int]], int]:
    """A declared shape of the input, a node, the shapes of eight requests, and a seed for their values."""
    rank = draw(st.integers(1, 3))
    free = draw(st.lists(st.booleans(), min_size=rank, max_size=rank))
    fixed = draw(st.lists(st.integers(1, 4), min_size=rank, max_size=rank))
    declared: list[int | str | None] = [f"d{n}" if free[n] else fixed[n] for n in range(rank)]
    lengths = [st.integers(1, 5) if is_free else st.just(length) for is_free, length in zip(free, fixed, strict=True)]
    shapes = draw(st.lists(st.tuples(*lengths).map(list), min_size=8, max_size=8))
    return declared, draw(st.integers(0, len(ROWS + MIXING) - 1)), shapes, draw(st.integers(0, 2**16))


def check(
    path: Path, loop: asyncio.AbstractEventLoop, graph: tuple[list[int | str | None], int, list[list[int]], int]
) -> None:
    declared, number, shapes, seed = graph
    node = [*ROWS, *MIXING][number]
    kind = TensorProto.INT64 if node.op_type in INTEGERS else TensorProto.FLOAT
    save(path, [node], [tensor("x", declared)], [helper.make_tensor_value_info("y", kind, None)], **CONSTANTS)
    random = np.random.default_rng(seed)
    requests: list[Arrays] = [{"x": random.normal(0, 4, shape).astype(np.float32)} for shape in shapes]
    expected = [by_onnxruntime(str(path), request) for request in requests]
    with in_process(path, loop) as served:
        assert_served(served, requests, expected)


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(graph=graphs())
def test_any_graph_is_answered_as_onnxruntime_does(
    tmp_path: Path, loop: asyncio.AbstractEventLoop, graph: tuple[list[int | str | None], int, list[list[int]], int]
) -> None:
    check(tmp_path / "model.onnx", loop, graph)


@pytest.mark.full
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(graph=graphs())
def test_many_graphs_are_answered_as_onnxruntime_does(
    tmp_path: Path, loop: asyncio.AbstractEventLoop, graph: tuple[list[int | str | None], int, list[list[int]], int]
) -> None:
    check(tmp_path / "model.onnx", loop, graph)


EMPTY_OR_SCALAR: list[tuple[list[int | str | None], list[int]]] = [
    ([], []),
    (["n", 3], [0, 3]),
    (["n", "m"], [2, 0]),
    ([2, "m"], [2, 0]),
    (["n"], [0]),
]


@pytest.mark.parametrize(("declared", "shape"), EMPTY_OR_SCALAR)
def test_scalars_and_empty_axes_come_back_as_they_are(
    tmp_path: Path, loop: asyncio.AbstractEventLoop, declared: list[int | str | None], shape: list[int]
) -> None:
    path = tmp_path / "model.onnx"
    inputs = [tensor("x", declared), tensor("s", declared, TensorProto.STRING)]
    outputs = [tensor("y", declared), tensor("t", declared, TensorProto.STRING)]
    save(path, [NODE("Neg", ["x"], ["y"]), NODE("Identity", ["s"], ["t"])], inputs, outputs)
    request: Arrays = {"x": np.full(shape, 2, np.float32), "s": np.full(shape, "ü", object)}
    with in_process(path, loop) as served:
        for way in WAYS:
            if way == "typed" and 0 in shape:
                continue  # without elements nothing says that there are contents
            assert_same(served.infer(way, request), by_onnxruntime(str(path), request))


@pytest.mark.parametrize("shape", [[], [4], [2, 3], [1, 2, 2]])
def test_an_input_of_which_the_graph_says_no_shape_takes_any(
    tmp_path: Path, loop: asyncio.AbstractEventLoop, shape: list[int]
) -> None:
    path = tmp_path / "model.onnx"
    save(path, [NODE("Neg", ["x"], ["y"])], [tensor("x", None)], [tensor("y", None)])
    request: Arrays = {"x": np.full(shape, 2, np.float32)}
    with in_process(path, loop) as served:
        for way in WAYS:
            assert_same(served.infer(way, request), by_onnxruntime(str(path), request))


def test_a_list_where_the_graph_needs_a_scalar_is_a_problem(tmp_path: Path, loop: asyncio.AbstractEventLoop) -> None:
    path = tmp_path / "model.onnx"
    kinds.counted(path)
    with in_process(path, loop) as served, pytest.raises(Problem, match="cannot process this input") as caught:
        served.infer("grpc", {"n": np.ones(3, np.float32)})
    assert caught.value.status_code == 422


DIFFERENT_ROWS = {
    "independent": [NODE("Neg", ["a"], ["y"]), NODE("Neg", ["b"], ["z"])],
    "broadcast": [NODE("Add", ["a", "b"], ["y"]), NODE("Mul", ["a", "b"], ["z"])],
}


@pytest.mark.parametrize("name", DIFFERENT_ROWS)
def test_inputs_with_different_numbers_of_rows_are_answered_as_onnxruntime_does(
    tmp_path: Path, loop: asyncio.AbstractEventLoop, name: str
) -> None:
    path = tmp_path / "model.onnx"
    inputs, outputs = ([tensor(each, [None, 3]) for each in names] for names in ("ab", "yz"))
    save(path, DIFFERENT_ROWS[name], inputs, outputs)
    requests: list[Arrays] = [
        {"a": kinds.weights(a, 3), "b": kinds.weights(b, 3)} for a, b in ((4, 1), (1, 1), (1, 6), (100, 1), (2, 2))
    ]
    expected = [by_onnxruntime(str(path), request) for request in requests]
    with in_process(path, loop) as served:
        assert_served(served, requests, expected)
        if name == "broadcast":
            with pytest.raises(Problem, match="cannot process this input") as caught:
                served.infer("grpc", {"a": kinds.weights(4, 3), "b": kinds.weights(2, 3)})
            assert caught.value.status_code == 422


def test_a_graph_that_fixes_its_rows_needs_as_many_of_each_input(
    tmp_path: Path, loop: asyncio.AbstractEventLoop
) -> None:
    path = tmp_path / "model.onnx"
    save(path, [NODE("Add", ["a", "b"], ["y"])], [tensor("a", [1, 3]), tensor("b", [1, 3])], [tensor("y", [1, 3])])
    with in_process(path, loop) as served, pytest.raises(Problem, match="the same number of rows") as caught:
        served.infer("grpc", {"a": kinds.weights(4, 3), "b": kinds.weights(1, 3)})
    assert caught.value.status_code == 400


def test_a_model_without_inputs_answers(tmp_path: Path, loop: asyncio.AbstractEventLoop) -> None:
    path = tmp_path / "model.onnx"
    kinds.without_inputs(path)
    with in_process(path, loop) as served:
        for way in WAYS:
            assert_same(served.infer(way, {}), by_onnxruntime(str(path), {}))


def test_a_graph_that_fits_one_length_alone_is_proved_without_huge_samples(
    tmp_path: Path, loop: asyncio.AbstractEventLoop
) -> None:
    """Two free axes that must be 1: longer ones fail, and the longest together would not fit into memory."""
    node, path = NODE("Concat", ["x", "one"], ["y"], axis=0), tmp_path / "model.onnx"
    inputs, outputs = [tensor("x", [2, "h", "w"])], [tensor("y", [3, "h", "w"])]
    save(path, [node], inputs, outputs, one=np.ones((1, 1, 1), np.float32))
    request: Arrays = {"x": np.full((2, 1, 1), 5, np.float32)}
    with in_process(path, loop) as served:
        assert_same(served.infer("grpc", request), by_onnxruntime(str(path), request))


@pytest.mark.full
def test_a_picture_of_640_pixels_fits(tmp_path: Path, loop: asyncio.AbstractEventLoop) -> None:
    path = tmp_path / "model.onnx"
    shape: list[int | str | None] = ["n", 3, "h", "w"]
    save(path, [NODE("Relu", ["x"], ["y"])], [tensor("x", shape)], [tensor("y", shape)])
    request: Arrays = {"x": kinds.weights(1, 3, 640, 640)}
    with in_process(path, loop) as served:
        for way in ("binary", "grpc"):
            assert_same(served.infer(way, request), by_onnxruntime(str(path), request))
        small: Arrays = {"x": kinds.weights(1, 3, 416, 416)}
        assert_same(served.infer("json", small), by_onnxruntime(str(path), small))
