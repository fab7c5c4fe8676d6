"""Trains the classifier of this example: `python examples/iris/train.py` writes `iris.onnx` beside this file."""

from pathlib import Path

from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

data = load_iris()
classifier = make_pipeline(StandardScaler(), LogisticRegression()).fit(data.data, data.target)
inputs = [("measurements", FloatTensorType([None, 4]))]
model = to_onnx(classifier, name="iris", initial_types=inputs, options={"zipmap": False})
Path(__file__).with_name("iris.onnx").write_bytes(model.SerializeToString())
