"""The operator cases of the ONNX project (`onnx.backend.test`), and what onnxruntime answers to each by itself."""

import importlib
import pkgutil
import warnings
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime as ort
from onnx.backend.test.case import node as operators

from tests.support.open_inference.tensors import Arrays


class Case(NamedTuple):
    """A model of one operator (or of what it expands to), and one request to it."""

    name: str
    model: bytes
    inputs: list[Any]
    input_names: list[str]


def cases(every: int = 1) -> Iterator[Case]:
    """The cases of every so many modules, in the order of their names; a module makes its cases when it is imported."""
    for name in _modules()[::every]:
        for case in _made_by(name):
            yield _case(case)


def one_of_each_operator() -> Iterator[Case]:
    """The first case of every third module, in the order of their names."""
    for name in _modules()[::3]:
        yield from map(_case, _made_by(name)[:1])


def directly(case: Case) -> tuple[Arrays, Arrays] | str:
    """The inputs, and what onnxruntime answers to them; or why it cannot be asked."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = ort.InferenceSession(case.model, options, providers=["CPUExecutionProvider"])
        inputs = {}
        for name, value in zip(case.input_names, case.inputs, strict=True):
            is_message = isinstance(value, onnx.TensorProto)
            # Some are numpy's scalars; a list is a sequence of tensors.
            inputs[name] = onnx.numpy_helper.to_array(value) if is_message else value
            inputs[name] = np.asarray(value) if isinstance(value, np.generic) else inputs[name]
        names = [output.name for output in session.get_outputs()]
        return inputs, dict(zip(names, session.run(names, inputs), strict=True))
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:200]}"


def _modules() -> list[str]:
    return sorted(module.name for module in pkgutil.walk_packages(operators.__path__, f"{operators.__name__}."))


@cache
def _made_by(module: str) -> list[Any]:
    """Other modules may have been imported before; this one makes its cases once."""
    made: list[Any] = operators._NodeTestCases
    before = len(made)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy's, on overflow in the values that they make
        importlib.import_module(module)
    return made[before:]


def _case(made: Any) -> Case:
    names = [value.name for value in made.model.graph.input]
    return Case(made.name, made.model.SerializeToString(), made.data_sets[0][0], names)
