"""A large model, made on the spot: 64 -> 2048 -> 2048 -> 10 with random weights, in the shape of the digit readers.

What it answers means nothing; what it costs is what counts: 17 MB of weights are read for each inference, whether of
one row or of many, and that is where batches pay.
"""

from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WIDTHS = (64, 2048, 2048, 10)
OPSET = 21
IR_VERSION = 10


def write_large_model(path: Path) -> None:
    """Write the model; always the same one."""
    random = np.random.default_rng(0)
    nodes: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []
    value = "features"
    for layer, (width, next_width) in enumerate(pairwise(WIDTHS)):
        scale = np.sqrt(2 / width)
        matrix = (random.standard_normal((width, next_width)) * scale).astype(np.float32)
        weights.append(numpy_helper.from_array(matrix, f"weight_{layer}"))
        weights.append(numpy_helper.from_array(np.zeros(next_width, np.float32), f"bias_{layer}"))
        nodes.append(helper.make_node("Gemm", [value, f"weight_{layer}", f"bias_{layer}"], [f"sum_{layer}"]))
        nodes.append(helper.make_node("Relu", [f"sum_{layer}"], [f"hidden_{layer}"]))
        value = f"hidden_{layer}"
    nodes[-1] = helper.make_node("Softmax", nodes[-1].input, ["probabilities"], axis=1)
    graph = helper.make_graph(
        nodes,
        "large",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, WIDTHS[0]])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, WIDTHS[-1]])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    path.write_bytes(model.SerializeToString())
