"""An ONNX model whose inference takes as many seconds as its first pixel says, one that fails, and how to build any."""

import time
import timeit
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper

from tests.support.samples import MLP, SEVEN_PIXELS
from tests.support.service_process import Server


def tensor(name: str, shape: list[int | str | None] | None, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def save(
    path: Path,
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    **constants: Any,
) -> str:
    """An ONNX file of these nodes; the constants become initializers."""
    initializers = [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, path.stem, inputs, outputs, initializers)
    opsets = [
        helper.make_opsetid("", 21),
        helper.make_opsetid("ai.onnx.ml", 2),
        helper.make_opsetid("com.microsoft", 1),
    ]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    return str(path)


BATCHED = {"BATCHING": "on"}
"""For the slow reader: the loop that slows it down might mix rows, so it is not batched by itself."""


def slow_pixels(seconds: float) -> dict[str, list[float]]:
    """A picture of a seven that the slow reader reads for so long."""
    return {"pixels": [seconds, *SEVEN_PIXELS[1:]]}


def is_busy(server: Server) -> bool:
    """Whether a batch is running that leaves a request of 50 ms no time."""
    return server.read(slow_pixels(0), **{"X-Request-Timeout-Ms": "50"}).status_code == 504


def slow_reader(path: Path) -> str:
    """The mlp reader, slowed down: what stands in the top left pixel is how many seconds a batch takes."""
    return _slowed(path, 1 / _seconds_per_step())


@cache
def _seconds_per_step() -> float:
    with TemporaryDirectory() as folder:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        session = ort.InferenceSession(_slowed(Path(folder) / "slow.onnx", 100), options)
        run = partial(session.run, None, {"features": np.eye(1, 64, dtype=np.float32)})
        return min(timeit.repeat(run, timer=time.process_time, repeat=5, number=1)) / 100  # of CPU: others are busy too


def _slowed(path: Path, steps_per_second: float) -> str:
    """The graph of mlp.onnx, and a loop of as many steps as column 0 of the rows says, with no effect on the result.

    Only rows whose last pixel is empty ask for steps: the random rows of the warm-up are quick.
    """
    model = onnx.load(MLP)
    step = helper.make_graph(
        [
            helper.make_node("MatMul", ["state", "unit"], ["next_state"]),
            helper.make_node("Identity", ["go_on"], ["goes_on"]),
        ],
        "step",
        [tensor("i", [], TensorProto.INT64), tensor("go_on", [], TensorProto.BOOL), tensor("state", [256, 256])],
        [tensor("goes_on", [], TensorProto.BOOL), tensor("next_state", [256, 256])],
    )
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = ["quick_probabilities" if name == "probabilities" else name for name in names]
    model.graph.node.extend(
        [
            helper.make_node("Slice", ["features", "zero", "one", "one"], ["corner"]),
            helper.make_node("Slice", ["features", "last", "end_of_row", "one"], ["last_pixel"]),
            helper.make_node("Equal", ["last_pixel", "nothing"], ["is_empty"]),
            helper.make_node("Where", ["is_empty", "corner", "nothing"], ["asked"]),
            helper.make_node("ReduceMax", ["asked"], ["seconds"], keepdims=0),
            helper.make_node("Mul", ["seconds", "steps_per_second"], ["wanted"]),
            helper.make_node("Add", ["wanted", "few"], ["float_steps"]),
            helper.make_node("Cast", ["float_steps"], ["steps"], to=TensorProto.INT64),
            helper.make_node("Mul", ["unit", "seconds"], ["start"]),
            helper.make_node("Loop", ["steps", "", "start"], ["end"], body=step),
            helper.make_node("ReduceMax", ["end"], ["largest"], keepdims=0),
            helper.make_node("Mul", ["largest", "nothing"], ["no_effect"]),
            helper.make_node("Add", ["quick_probabilities", "no_effect"], ["probabilities"]),
        ]
    )
    constants = {
        "zero": np.array([0]),
        "one": np.array([1]),
        "last": np.array([63]),
        "end_of_row": np.array([64]),
        "few": np.float32(3),
        "nothing": np.float32(0),
        "unit": np.eye(256, dtype=np.float32),
        "steps_per_second": np.float32(steps_per_second),
    }
    model.graph.initializer.extend(onnx.numpy_helper.from_array(np.asarray(v), n) for n, v in constants.items())
    onnx.save(model, path)
    return str(path)


POISON = 16
"""What the poison reader cannot read in the top left pixel; no scan has that much ink there."""


def poisoned(pixel: float = POISON) -> dict[str, list[float]]:
    """A picture of a seven that makes the poison reader fail."""
    return {"pixels": [pixel, *SEVEN_PIXELS[1:]]}


def poison_reader(path: Path) -> str:
    """The mlp reader, which looks up something by the top left pixel, and fails where that is `POISON`."""
    model = onnx.load(MLP)
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = ["quick_probabilities" if name == "probabilities" else name for name in names]
    model.graph.node.extend(
        [
            helper.make_node("Slice", ["features", "zero", "one", "one"], ["corner"]),
            helper.make_node("Cast", ["corner"], ["place"], to=TensorProto.INT64),
            helper.make_node("Gather", ["table", "place"], ["found"]),
            helper.make_node("Add", ["quick_probabilities", "found"], ["probabilities"]),
        ]
    )
    constants = {"zero": np.array([0]), "one": np.array([1]), "table": np.zeros(POISON, np.float32)}
    model.graph.initializer.extend(onnx.numpy_helper.from_array(v, n) for n, v in constants.items())
    onnx.save(model, path)
    return str(path)
