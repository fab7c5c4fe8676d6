"""BentoML: one service with adaptive batching: `bentoml serve benchmarks.peers.bentoml_app:Reader`

A request to a batchable endpoint is a batch already, here of one row.
"""

from typing import Annotated

import bentoml
import numpy as np
from bentoml.validators import DType, Shape

from benchmarks.peers.inference import MAX_BATCH_ROWS, Model

Rows = Annotated[np.ndarray, DType("float32"), Shape((-1, 64))]


@bentoml.service(workers=1)
class Reader:
    """A worker process, which loads the model."""

    def __init__(self) -> None:
        self.model = Model()

    @bentoml.api(batchable=True, max_batch_size=MAX_BATCH_ROWS)
    def predict(self, pixels: Rows) -> np.ndarray:
        """(n, 64) -> (n, 10) probabilities."""
        return self.model.predict(pixels)
