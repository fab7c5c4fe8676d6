"""Small graphs of the kinds that people serve: each takes its shapes, rows and lengths in its own way."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper

from tests.support.models.onnx_models import save, tensor

NODE = helper.make_node


def weights(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(len(shape)).normal(size=shape).astype(np.float32)


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


def table_of_three(path: Path) -> str:
    """[n] indices, [n, 2] numbers -> [n, 2]: no index may be above 3."""
    nodes = [NODE("Gather", ["table", "i"], ["row"]), NODE("Add", ["x", "row"], ["y"])]
    inputs = [tensor("i", ["n"], TensorProto.INT64), tensor("x", ["n", 2])]
    return save(path, nodes, inputs, [tensor("y", ["n", 2])], table=weights(4, 2))


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


def long_kernel(path: Path) -> str:
    """[n, 1, l] -> [n, 2, l - 199]: a convolution that needs at least 200 steps."""
    nodes = [NODE("Conv", ["x", "w"], ["y"])]
    return save(path, nodes, [tensor("x", ["n", 1, "l"])], [tensor("y", ["n", 2, "m"])], w=weights(2, 1, 200))


def shortened(path: Path) -> str:
    """[3, 8, 8] -> [10]: the first axis of the input is colours, that of the output scores."""
    nodes = [NODE("Reshape", ["x", "row"], ["flat"]), NODE("MatMul", ["flat", "w"], ["y"])]
    constants = {"row": np.array([192]), "w": weights(192, 10)}
    return save(path, nodes, [tensor("x", [3, 8, 8])], [tensor("y", [10])], **constants)


def text_recogniser(path: Path) -> str:
    """[1, 3, 8, 40] -> (20, 1, 12): time first."""
    nodes = [
        NODE("Reshape", ["x", "steps"], ["flat"]),
        NODE("MatMul", ["flat", "w"], ["y"]),
    ]
    constants = {"steps": np.array([20, 1, 48]), "w": weights(48, 12)}
    return save(path, nodes, [tensor("x", [1, 3, 8, 40])], [tensor("y", [20, 1, 12])], **constants)


def padded_speech(path: Path) -> str:
    """[n, samples] -> [n, samples + 600]: a reflecting pad of 300 needs at least 301 samples."""
    nodes = [NODE("Pad", ["x", "pads"], ["y"], mode="reflect")]
    pads = np.array([0, 300, 0, 300])
    return save(path, nodes, [tensor("x", ["n", "samples"])], [tensor("y", ["n", "padded"])], pads=pads)


def detector(path: Path) -> str:
    """[n, 1, h, w] -> [n, 1, h, w]: a pyramid whose levels fit only where h and w are multiples of 32."""
    nodes = [
        NODE("AveragePool", ["x"], ["small"], kernel_shape=[32, 32], strides=[32, 32]),
        NODE("Resize", ["small", "", "scales"], ["large"], mode="nearest"),
        NODE("Concat", ["x", "large"], ["y"], axis=1),
    ]
    scales = np.array([1, 1, 32, 32], np.float32)
    shape: list[int | str | None] = ["n", 1, "h", "w"]
    return save(path, nodes, [tensor("x", shape)], [tensor("y", ["n", 2, "h", "w"])], scales=scales)


def scalar_output(path: Path) -> str:
    """[n] -> the sum, a scalar."""
    return save(path, [NODE("ReduceSum", ["x"], ["y"], keepdims=0)], [tensor("x", ["n"])], [tensor("y", [])])


def with_a_table(path: Path) -> str:
    """[n, 4] -> the same, and a table of three rows that has nothing to do with them."""
    nodes = [NODE("Neg", ["x"], ["y"]), NODE("Identity", ["w"], ["table"])]
    return save(path, nodes, [tensor("x", ["n", 4])], [tensor("y", ["n", 4]), tensor("table", [3, 2])], w=weights(3, 2))


def expanded(path: Path) -> str:
    """A row, and the shape to which it is expanded."""
    inputs = [tensor("x", [1, 3]), tensor("shape", [2], TensorProto.INT64)]
    return save(path, [NODE("Expand", ["x", "shape"], ["y"])], inputs, [tensor("y", [None, None])])


def without_inputs(path: Path) -> str:
    """Nothing -> a constant."""
    return save(path, [NODE("Identity", ["w"], ["y"])], [], [tensor("y", [2, 3])], w=weights(2, 3))


def never_guessed(path: Path) -> str:
    """[n, 4], an index into a table of 3 rows, each of which must be 7 less than its place: no guess runs."""
    nodes = [NODE("Sub", ["i", "seven"], ["j"]), NODE("Gather", ["table", "j"], ["y"])]
    constants = {"seven": np.array(1_000), "table": weights(3, 2)}
    return save(path, nodes, [tensor("i", ["n"], TensorProto.INT64)], [tensor("y", ["n", 2])], **constants)


def independent(path: Path) -> str:
    """[n, 6] -> [n, 3] and [n]: a layer, and its likeliest class."""
    nodes = [NODE("MatMul", ["x", "w"], ["y"]), NODE("ArgMax", ["y"], ["label"], axis=1, keepdims=0)]
    outputs = [tensor("y", ["n", 3]), tensor("label", ["n"], TensorProto.INT64)]
    return save(path, nodes, [tensor("x", ["n", 6])], outputs, w=weights(6, 3))


def labelled_strings(path: Path) -> str:
    """[n] strings -> [n] numbers: one string a row."""
    words: dict[str, Any] = {"keys_strings": ["0", "1"], "values_int64s": [1, 2], "default_int64": -1}
    nodes = [NODE("LabelEncoder", ["s"], ["y"], domain="ai.onnx.ml", **words)]
    inputs, outputs = [tensor("s", ["n"], TensorProto.STRING)], [tensor("y", ["n"], TensorProto.INT64)]
    return save(path, nodes, inputs, outputs)


def filled(path: Path) -> str:
    """The shape of a tensor -> the sum of its elements: two numbers say how much work there is."""
    nodes = [
        NODE("ConstantOfShape", ["shape"], ["zeros"]),
        NODE("Exp", ["zeros"], ["ones"]),
        NODE("ReduceSum", ["ones"], ["y"], keepdims=0),
    ]
    return save(path, nodes, [tensor("shape", [2], TensorProto.INT64)], [tensor("y", [])])


def counted(path: Path) -> str:
    """A number -> the sum of so many sines."""
    nodes = [
        NODE("Range", ["zero", "n", "one"], ["numbers"]),
        NODE("Sin", ["numbers"], ["sines"]),
        NODE("ReduceSum", ["sines"], ["y"], keepdims=0),
    ]
    return save(path, nodes, [tensor("n", [])], [tensor("y", [])], zero=np.float32(0), one=np.float32(1))


def many_lengths(path: Path) -> str:
    """[n, length, 64] -> [n, length, 64]: quick for a short row, slow for a long one."""
    nodes = [NODE("Erf", ["x"], ["y"])]
    shape: list[int | str | None] = ["n", "length", 64]
    return save(path, nodes, [tensor("x", shape)], [tensor("y", shape)])
