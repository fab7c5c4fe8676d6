"""MLServer: a custom runtime for ONNX models, asked by the Open Inference Protocol: `mlserver start FOLDER`

Its settings are in `mlserver/`. It batches requests by itself, so that `predict` sees one request of several rows.
"""

from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse

from benchmarks.peers.inference import Model


class Reader(MLModel):
    """features, FP32 (n, 64) -> probabilities, FP32 (n, 10)."""

    async def load(self) -> bool:
        """Load the model, in the process that predicts."""
        self.model = Model()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """One batch."""
        rows = NumpyCodec.decode_input(payload.inputs[0])
        output = NumpyCodec.encode_output("probabilities", self.model.predict(rows))
        return InferenceResponse(model_name=self.name, outputs=[output])
