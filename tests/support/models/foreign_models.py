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


def table_of_three(path: Path) -> str:
    """[n] indices, [n, 2] numbers -> [n, 2]: no index may be above 3."""
    nodes = [NODE("Gather", ["table", "i"], ["row"]), NODE("Add", ["x", "row"], ["y"])]
    inputs = [tensor("i", ["n"], TensorProto.INT64), tensor("x", ["n", 2])]
    return save(path, nodes, inputs, [tensor("y", ["n", 2])], table=weights(4, 2))


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


def as_long_as_its_largest(path: Path) -> str:
    """[n, 2] -> [n, 2]: itself; what is as long as its largest value has no effect."""
    nodes = [
        NODE("Abs", ["x"], ["size"]),
        NODE("Cast", ["size"], ["whole"], to=TensorProto.INT64),
        NODE("ReduceMax", ["whole"], ["length"], keepdims=0),
        NODE("Unsqueeze", ["length", "first"], ["shape"]),
        NODE("ConstantOfShape", ["shape"], ["zeros"]),
        NODE("ReduceSum", ["zeros"], ["nothing"], keepdims=0),
        NODE("Add", ["x", "nothing"], ["y"]),
    ]
    return save(path, nodes, [tensor("x", ["n", 2])], [tensor("y", ["n", 2])], first=np.array([0]))


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
