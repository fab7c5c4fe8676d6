"""LitServe: an API process, and a worker process that predicts batches: `python -m benchmarks.peers.litserve_app`"""

import os
from typing import Any

import litserve as ls
import numpy as np

from benchmarks.peers.inference import MAX_BATCH_ROWS, Model, prediction


class Reader(ls.LitAPI):
    """The steps of a request; the worker calls those of `predict`."""

    def setup(self, device: str) -> None:
        """Load the model, in the worker."""
        self.model = Model()

    def decode_request(self, request: dict[str, Any]) -> np.ndarray:
        """JSON to a row."""
        return np.array(request["pixels"], dtype=np.float32)

    def predict(self, rows: np.ndarray) -> np.ndarray:
        """A batch of stacked rows."""
        return self.model.predict(rows)

    def unbatch(self, output: np.ndarray) -> list[np.ndarray]:
        """A row for each request."""
        return list(output)

    def encode_response(self, output: np.ndarray) -> dict[str, Any]:
        """A row to JSON."""
        return prediction(output)


if __name__ == "__main__":
    reader = Reader(max_batch_size=MAX_BATCH_ROWS, batch_timeout=float(os.environ.get("BATCH_SECONDS", "0.001")))
    server = ls.LitServer(reader, accelerator="cpu", workers_per_device=1, fast_queue=True)
    server.run(host="127.0.0.1", port=int(os.environ["PORT"]), num_api_servers=1, generate_client_file=False)
