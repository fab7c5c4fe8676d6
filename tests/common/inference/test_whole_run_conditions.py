"""Graphs that compare a whole run with a bound and then treat all its rows alike: their requests never share a run."""

from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto

from common.inference.model import Model
from common.inference.tensor_spec import Tensors
from tests.support.models import mixing_models as mixing
from tests.support.open_inference.tensors import by_onnxruntime

BOUNDS = (-1e5, -10.0, 0.0, 0.5, 1.0, 2.0, 100.0, 127.0, 255.0, 1e5, 1e9)
SMALL = ((0, 0), (0, 1), (1, 1), (-1, 1), (0, 255), (-40, -20), (20, 40), (100, 200))
LARGE = ((0, 5e4), (1e5, 3e5), (-3e5, -2e5), (1.7e9, 1.8e9))
"""Of values that people send: shares, pictures, temperatures, prices, seconds since 1970."""

TYPES: dict[int, tuple[type[np.generic], tuple[int, ...]]] = {
    TensorProto.FLOAT: (np.float32, (1, 8, 8)),
    TensorProto.UINT8: (np.uint8, (16,)),
    TensorProto.INT64: (np.int64, (8,)),
}


def rows(kind: int) -> list[NDArray[Any]]:
    random = np.random.default_rng(0)
    dtype, shape = TYPES[kind]
    values = [random.uniform(low, high, (1, *shape)) for low, high in (*SMALL, *LARGE)]
    if kind == TensorProto.UINT8:
        values = [np.clip(value, 0, 255) for value in values]
    return [(value if kind == TensorProto.FLOAT else value.round()).astype(dtype) for value in values]


@pytest.mark.parametrize("kind", TYPES, ids=["floats", "bytes", "integers"])
@pytest.mark.parametrize("comparison", ["Less", "Greater"])
@pytest.mark.parametrize("reduction", ["ReduceMin", "ReduceMax", "ReduceMean", "ReduceSum", "ReduceL2"])
def test_rows_that_share_a_run_get_what_they_get_alone_whatever_the_graph_compares_the_run_with(
    tmp_path: Path, reduction: str, comparison: str, kind: int
) -> None:
    for bound in BOUNDS:
        threshold = np.array(bound, np.float32)
        uri = mixing.doubled_if(tmp_path / "model.onnx", reduction, comparison, threshold, TYPES[kind][1], kind)
        model = Model.load(uri, threads=1)
        if not model.is_batched:
            continue
        for first, second in permutations(rows(kind), 2):
            together = model.run({"x": np.concatenate([first, second])})["y"]
            np.testing.assert_array_equal(together[:1], model.run({"x": first})["y"], err_msg=f"{bound}")


FLOATS = np.array([[0.25, 0.5, 0.75, 1]], np.float32)


def strings(*texts: str) -> Tensors:
    return {"s": np.array(texts, object)}


CONDITIONS: dict[str, tuple[Callable[[Path], str], list[Tensors]]] = {
    "any-negative": (
        lambda path: mixing.doubled_if(path, "ReduceMin", "Less", np.array(0, np.float32)),
        [{"x": FLOATS}, {"x": -FLOATS}],
    ),
    "all-large": (
        lambda path: mixing.doubled_if(path, "ReduceMin", "Greater", np.array(1e5, np.float32)),
        [{"x": 1e6 * FLOATS}, {"x": FLOATS}],
    ),
    "bytes-above-one": (
        lambda path: mixing.doubled_if(path, "ReduceMax", "Greater", np.array(1, np.float32), (4,), TensorProto.UINT8),
        [{"x": np.array([[0, 1, 1, 0]], np.uint8)}, {"x": np.array([[0, 9, 200, 0]], np.uint8)}],
    ),
    "times": (
        lambda path: mixing.doubled_if(path, "ReduceMax", "Greater", np.array(10**9), (4,), TensorProto.INT64),
        [{"x": np.full((1, 4), 5)}, {"x": np.full((1, 4), 1_764_500_000)}],
    ),
    "any-nan": (mixing.filled_with_the_mean, [{"x": np.array([[1, np.nan, 3]], np.float32)}, {"x": FLOATS[:, :3]}]),
    "all-whole": (mixing.scaled_if_whole, [{"x": np.array([[0, 128, 255]], np.float32)}, {"x": FLOATS[:, :3]}]),
    "row-before": (mixing.marked_by_the_next, [{"x": FLOATS}, {"x": 1e9 * FLOATS}]),
    "one-above-another": (
        mixing.negated_if_above,
        [{"a": FLOATS, "b": 2 * FLOATS}, {"a": 3 * FLOATS, "b": 2 * FLOATS}],
    ),
    "numbers-as-text": (mixing.scaled_texts, [strings("5"), strings("250")]),
    "words": (mixing.split_at_spaces, [strings("a"), strings("a b c")]),
    "bag-of-words": (mixing.bag_of_words, [strings("good"), strings("a very bad film")]),
    "tokens": (mixing.tokenized, [strings("a"), strings("a b c")]),
}


@pytest.mark.parametrize("name", CONDITIONS)
def test_a_graph_in_which_one_row_changes_another_runs_request_by_request(tmp_path: Path, name: str) -> None:
    build, requests = CONDITIONS[name]
    uri = build(tmp_path / "model.onnx")
    alone = [by_onnxruntime(uri, request) for request in requests]
    both = by_onnxruntime(uri, {key: np.concatenate([request[key] for request in requests]) for key in requests[0]})
    assert any(both[key][:1].tolist() != alone[0][key].tolist() for key in both), "the graph does mix rows"
    assert Model.load(uri).batching == "off"
