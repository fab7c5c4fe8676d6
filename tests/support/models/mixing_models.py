"""Small graphs whose rows change each other, each in its own way, or that look as if they might."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto, TensorProto, helper

from tests.support.models.foreign_models import NODE, weights
from tests.support.models.onnx_models import save, tensor


def time_major_lstm(path: Path) -> str:
    """As PyTorch exports an LSTM by default: [seq, 1, 4] -> [seq, 1, 8]."""
    nodes = [
        NODE("LSTM", ["x", "w", "r"], ["all"], hidden_size=8),
        NODE("Squeeze", ["all", "one"], ["y"]),
    ]
    constants = {"w": weights(1, 32, 4), "r": weights(1, 32, 8), "one": np.array([1])}
    return save(path, nodes, [tensor("x", ["seq", 1, 4])], [tensor("y", ["seq", 1, 8])], **constants)


def dynamically_quantized(path: Path) -> str:
    """[n, 16] -> [n, 4]; the scale of the 8 bits is that of all rows."""
    nodes = [
        NODE("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"]),
        NODE("DequantizeLinear", ["q", "scale", "zero"], ["back"]),
        NODE("MatMul", ["back", "w"], ["y"]),
    ]
    return save(path, nodes, [tensor("x", ["n", 16])], [tensor("y", ["n", 4])], w=weights(16, 4))


def centred(path: Path) -> str:
    """[n, 4] -> [n, 4]: less the mean of all rows."""
    nodes = [NODE("ReduceMean", ["x", "zero"], ["mean"], keepdims=1), NODE("Sub", ["x", "mean"], ["y"])]
    return save(path, nodes, [tensor("x", ["n", 4])], [tensor("y", ["n", 4])], zero=np.array([0]))


def hidden_by_large_values(path: Path) -> str:
    """[n, 4] -> [n, 8]: large values, and beside them a softmax over all rows, which no tolerance may hide."""
    nodes = [
        NODE("Mul", ["x", "million"], ["large"]),
        NODE("Softmax", ["x"], ["share"], axis=0),
        NODE("Concat", ["large", "share"], ["y"], axis=1),
    ]
    million = np.array(1e6, np.float32)
    return save(path, nodes, [tensor("x", ["n", 4])], [tensor("y", ["n", 8])], million=million)


def finely_quantized(path: Path) -> str:
    """[n, 4] -> [n, 4]: rounded to 18 bits, with one scale for all rows; finer than what rounding is allowed."""
    nodes = [
        NODE("Abs", ["x"], ["size"]),
        NODE("ReduceMax", ["size"], ["largest"], keepdims=0),
        NODE("Div", ["largest", "steps"], ["scale"]),
        NODE("Div", ["x", "scale"], ["scaled"]),
        NODE("Round", ["scaled"], ["rounded"]),
        NODE("Mul", ["rounded", "scale"], ["y"]),
    ]
    return save(path, nodes, [tensor("x", ["n", 4])], [tensor("y", ["n", 4])], steps=np.array(2.0**18, np.float32))


def doubled_by_one_large_value(path: Path) -> str:
    """[n, 4] -> [n, 4]: all rows twice, if any value in any row is above 20."""
    return doubled_if(path, "ReduceMax", "Greater", np.array(20, np.float32))


def doubled_by_one_huge_value(path: Path) -> str:
    """[n, 4] -> [n, 4]: all rows twice, if any value in any row is above 100,000."""
    return doubled_if(path, "ReduceMax", "Greater", np.array(1e5, np.float32))


def doubled_by_one_huge_integer(path: Path) -> str:
    """[n, 4] -> [n, 4]: all rows twice, if any whole number in any row is above 1,000,000."""
    return doubled_if(path, "ReduceMax", "Greater", np.array(10**6), kind=TensorProto.INT64)


def doubled_if(
    path: Path,
    reduction: str,
    comparison: str,
    threshold: NDArray[Any],
    row: tuple[int, ...] = (4,),
    kind: int = TensorProto.FLOAT,
) -> str:
    """[n, *row] -> the same of the threshold's type: all rows twice, if what all values reduce to compares so."""
    type_ = helper.np_dtype_to_tensor_dtype(threshold.dtype)
    nodes = [
        NODE("Cast", ["x"], ["values"], to=type_),
        NODE(reduction, ["values"], ["reduced"], keepdims=0),
        NODE(comparison, ["reduced", "threshold"], ["holds"]),
        NODE("Add", ["values", "values"], ["doubled"]),
        NODE("Where", ["holds", "doubled", "values"], ["y"]),
    ]
    return save(path, nodes, [tensor("x", ["n", *row], kind)], [tensor("y", ["n", *row], type_)], threshold=threshold)


def filled_with_the_mean(path: Path) -> str:
    """[n, 3] -> [n, 3]: NaN becomes the mean of its column in all rows, NaN counted as 0."""
    nodes = [
        NODE("IsNaN", ["x"], ["is_nan"]),
        NODE("Where", ["is_nan", "zero", "x"], ["known"]),
        NODE("ReduceMean", ["known", "rows"], ["mean"], keepdims=1),
        NODE("Where", ["is_nan", "mean", "x"], ["y"]),
    ]
    constants = {"zero": np.float32(0), "rows": np.array([0])}
    return save(path, nodes, [tensor("x", ["n", 3])], [tensor("y", ["n", 3])], **constants)


def scaled_if_whole(path: Path) -> str:
    """[n, 3] -> [n, 3]: divided by 255, if all values of all rows are whole."""
    nodes = [
        NODE("Floor", ["x"], ["floor"]),
        NODE("Equal", ["floor", "x"], ["is_whole"]),
        NODE("Cast", ["is_whole"], ["counted"], to=TensorProto.FLOAT),
        NODE("ReduceMin", ["counted"], ["all"], keepdims=0),
        NODE("Cast", ["all"], ["are_whole"], to=TensorProto.BOOL),
        NODE("Div", ["x", "most"], ["scaled"]),
        NODE("Where", ["are_whole", "scaled", "x"], ["y"]),
    ]
    return save(path, nodes, [tensor("x", ["n", 3])], [tensor("y", ["n", 3])], most=np.float32(255))


def marked_by_the_next(path: Path) -> str:
    """[n, 4] -> [n, 1]: 1 if the row after this one has a value above a million."""
    nodes = [
        NODE("Greater", ["x", "million"], ["is_large"]),
        NODE("Cast", ["is_large"], ["counted"], to=TensorProto.FLOAT),
        NODE("ReduceMax", ["counted", "second"], ["mark"], keepdims=1),
        NODE("Slice", ["mark", "one", "end", "first"], ["next"]),
        NODE("Slice", ["mark", "last", "end", "first"], ["own"]),
        NODE("Mul", ["own", "zero"], ["nothing"]),
        NODE("Concat", ["next", "nothing"], ["y"], axis=0),
    ]
    constants = {
        "million": np.float32(1e6),
        "zero": np.float32(0),
        "first": np.array([0]),
        "second": np.array([1]),
        "one": np.array([1]),
        "last": np.array([-1]),
        "end": np.array([2**31]),
    }
    return save(path, nodes, [tensor("x", ["n", 4])], [tensor("y", ["n", 1])], **constants)


def negated_if_above(path: Path) -> str:
    """[n, 4] and [n, 4] -> b - a, or a - b if any value of a is above that of b."""
    nodes = [
        NODE("Greater", ["a", "b"], ["is_above"]),
        NODE("Cast", ["is_above"], ["counted"], to=TensorProto.FLOAT),
        NODE("ReduceMax", ["counted"], ["any"], keepdims=0),
        NODE("Cast", ["any"], ["are_above"], to=TensorProto.BOOL),
        NODE("Sub", ["b", "a"], ["difference"]),
        NODE("Sub", ["a", "b"], ["negated"]),
        NODE("Where", ["are_above", "negated", "difference"], ["y"]),
    ]
    return save(path, nodes, [tensor("a", ["n", 4]), tensor("b", ["n", 4])], [tensor("y", ["n", 4])])


def scaled_texts(path: Path) -> str:
    """[n] strings of numbers -> [n]: the numbers, in hundredths if any is above 100."""
    nodes = [
        NODE("Cast", ["s"], ["x"], to=TensorProto.FLOAT),
        NODE("ReduceMax", ["x"], ["largest"], keepdims=0),
        NODE("Greater", ["largest", "hundred"], ["is_large"]),
        NODE("Div", ["x", "hundred"], ["scaled"]),
        NODE("Where", ["is_large", "scaled", "x"], ["y"]),
    ]
    inputs = [tensor("s", ["n"], TensorProto.STRING)]
    return save(path, nodes, inputs, [tensor("y", ["n"])], hundred=np.float32(100))


def split_at_spaces(path: Path) -> str:
    """[n] strings -> [n, words], padded to the text with most words."""
    nodes = [NODE("StringSplit", ["s"], ["y", "count"], delimiter=" ")]
    outputs = [tensor("y", ["n", "words"], TensorProto.STRING), tensor("count", ["n"], TensorProto.INT64)]
    return save(path, nodes, [tensor("s", ["n"], TensorProto.STRING)], outputs)


def bag_of_words(path: Path) -> str:
    """[n] strings -> [n, 2]: the mean of the vectors of their words, those that pad a shorter text included."""
    words: dict[str, Any] = {"keys_strings": ["good", "bad"], "values_int64s": [1, 2], "default_int64": 0}
    nodes = [
        NODE("StringSplit", ["s"], ["words", "count"], delimiter=" "),
        NODE("LabelEncoder", ["words"], ["i"], domain="ai.onnx.ml", **words),
        NODE("Gather", ["vectors", "i"], ["found"]),
        NODE("ReduceMean", ["found", "second"], ["y"], keepdims=0),
    ]
    constants = {"vectors": weights(3, 2), "second": np.array([1])}
    return save(path, nodes, [tensor("s", ["n"], TensorProto.STRING)], [tensor("y", ["n", 2])], **constants)


def tokenized(path: Path) -> str:
    """[n] strings -> [n, words], by onnxruntime's own operator, padded to the text with most words."""
    how: dict[str, Any] = {"mark": 0, "pad_value": "#", "mincharnum": 1, "separators": [" "]}
    nodes = [NODE("Tokenizer", ["s"], ["y"], domain="com.microsoft", **how)]
    kind = TensorProto.STRING
    return save(path, nodes, [tensor("s", ["n"], kind)], [tensor("y", ["n", "words"], kind)])


def emptied_by_nan(path: Path) -> str:
    """[n, 4] -> [n, 4]: zeros for all rows, if any value in any row is NaN."""
    nodes = [
        NODE("IsNaN", ["x"], ["is_nan"]),
        NODE("Cast", ["is_nan"], ["counted"], to=TensorProto.FLOAT),
        NODE("ReduceMax", ["counted"], ["any"], keepdims=0),
        NODE("Cast", ["any"], ["has_nan"], to=TensorProto.BOOL),
        NODE("Where", ["has_nan", "nothing", "x"], ["y"]),
    ]
    return save(path, nodes, [tensor("x", ["n", 4])], [tensor("y", ["n", 4])], nothing=np.zeros(4, np.float32))


def doubled_among_many(path: Path) -> str:
    """[n, 4] -> [n, 4]: all rows twice, if there are more than 20."""
    nodes = [
        NODE("Shape", ["x"], ["rows"], start=0, end=1),
        NODE("Greater", ["rows", "twenty"], ["are_many"]),
        NODE("Add", ["x", "x"], ["doubled"]),
        NODE("Where", ["are_many", "doubled", "x"], ["y"]),
    ]
    return save(path, nodes, [tensor("x", ["n", 4])], [tensor("y", ["n", 4])], twenty=np.array([20]))


def rounded_with_others(path: Path) -> str:
    """[n, 4] -> [n, 4]: the same, a row alone; with others the last bit differs, as in many a matrix product."""
    nodes = [
        NODE("Shape", ["x"], ["rows"], start=0, end=1),
        NODE("Greater", ["rows", "one"], ["has_others"]),
        NODE("Mul", ["x", "next"], ["rounded"]),
        NODE("Where", ["has_others", "rounded", "x"], ["y"]),
    ]
    constants = {"one": np.array([1]), "next": np.nextafter(np.float32(1), np.float32(2))}
    return save(path, nodes, [tensor("x", ["n", 4])], [tensor("y", ["n", 4])], **constants)


def decided_by_all_rows(path: Path) -> str:
    """[n, 2] -> [n, 2]: shares, or their roots unless every row has a large one."""
    nodes = [
        NODE("Softmax", ["x"], ["share"], axis=1),
        NODE("ReduceMax", ["share", "second"], ["best"], keepdims=0),
        NODE("ReduceMin", ["best"], ["least"], keepdims=0),
        NODE("Greater", ["least", "enough"], ["is_sure"]),
        _if("is_sure", "share"),
    ]
    constants = {"second": np.array([1]), "enough": np.float32(0.9)}
    return save(path, nodes, [tensor("x", ["n", 2])], [tensor("y", ["n", 2])], **constants)


def decided_by_its_shape(path: Path) -> str:
    """[n, 2] -> [n, 2]: itself, or its roots if it has other than two columns."""
    nodes = [
        NODE("Shape", ["x"], ["columns"], start=1, end=2),
        NODE("Squeeze", ["columns"], ["number"]),
        NODE("Equal", ["number", "two"], ["is_two"]),
        _if("is_two", "x"),
    ]
    return save(path, nodes, [tensor("x", ["n", 2])], [tensor("y", ["n", 2])], two=np.array(2))


def _if(condition: str, value: str) -> NodeProto:
    def branch(operator: str) -> GraphProto:
        return helper.make_graph([NODE(operator, [value], ["chosen"])], operator, [], [tensor("chosen", ["n", 2])])

    return NODE("If", [condition], ["y"], then_branch=branch("Identity"), else_branch=branch("Sqrt"))
