"""Trained classifier -> ONNX bytes and their card: what the model is, where it comes from and how good it is."""

import hashlib
import warnings
from importlib.metadata import version

import numpy as np
import onnx
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType

from common.domain.digits import FEATURES
from common.training.data import SEED, held_out, split
from common.training.measure import mean_confidence, microseconds, runner
from common.training.models import Trained

LIBRARIES = ("numpy", "scikit-learn", "skl2onnx", "onnx", "onnxruntime", "pillow")
SOURCE = {
    "data": "sklearn.datasets.load_digits: test part of UCI 'Optical Recognition of Handwritten Digits'",
    "doi": "10.24432/C50P49",
    "licence": "CC BY 4.0",
}


def export(trained: Trained, name: str) -> bytes:
    """The classifier as ONNX: `features` float32 [n, 64] -> `label` int64 [n], `probabilities` float32 [n, classes]."""
    inputs = [("features", FloatTensorType([None, FEATURES]))]
    # The name is given because the default is a random one, and equal trainings should give equal files.
    with warnings.catch_warnings():
        # skl2onnx still looks for the probabilities that scikit-learn is taking out of SVC.
        warnings.filterwarnings("ignore", "Attribute `prob", FutureWarning)
        model = to_onnx(trained.classifier, name=name, initial_types=inputs, options={"zipmap": False})
    used = {name for node in model.graph.node for name in node.input}
    for unused in [value for value in model.graph.initializer if value.name not in used]:
        model.graph.initializer.remove(unused)  # onnxruntime would warn of it at every start
    return bytes(model.SerializeToString())


def card(name: str, model: bytes, trained: Trained, figures: dict[str, float]) -> dict[str, object]:
    """Everything worth knowing about a model file, ready for JSON."""
    sha256 = hashlib.sha256(model).hexdigest()
    graph = onnx.load_from_string(model).graph
    return {
        "name": name,
        "version": sha256[:12],
        "sha256": sha256,
        "bytes": len(model),
        "classes": ["illegible", "legible"] if name == "quality" else list(range(10)),
        "inputs": [_tensor(value) for value in graph.input],
        "outputs": [_tensor(value) for value in graph.output],
        "figures": figures,
        "microseconds_a_row": microseconds(runner(model)),
        "reference": _reference(model),
        "training": {"rows": trained.rows, "seed": SEED, "held_out_rows": len(held_out().labels)},
        "source": SOURCE,
        "libraries": {library: version(library) for library in LIBRARIES},
    }


def _tensor(value: onnx.ValueInfoProto) -> dict[str, object]:
    tensor = value.type.tensor_type
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)).name
    return {"name": value.name, "dtype": dtype, "shape": [size.dim_value or None for size in tensor.shape.dim]}


def _reference(model: bytes) -> dict[str, object]:
    """What ordinary scans look like, to measure the drift of later ones.

    Mean and standard deviation of each feature are those of the training scans; the confidence is that on held-out
    scans, since a model is surer of what it has seen.
    """
    features = split()[0].features
    return {
        "rows": len(features),
        "feature_mean": features.mean(axis=0, dtype=np.float64).round(4).tolist(),
        "feature_std": features.std(axis=0, dtype=np.float64).round(4).tolist(),
        "mean_confidence": mean_confidence(runner(model), held_out().features),
    }
