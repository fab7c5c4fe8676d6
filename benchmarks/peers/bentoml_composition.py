"""BentoML's composition: `bentoml serve benchmarks.peers.bentoml_composition:Vote`, or `:Stages`

Each service is a process of its own.
"""

import asyncio
from typing import Any

import bentoml
import numpy as np

from benchmarks.peers.bentoml_app import Rows
from benchmarks.peers.inference import MAX_BATCH_ROWS, Model, prediction


def member(name: str) -> Any:
    """A service for one of our models."""

    class Member:
        def __init__(self) -> None:
            self.model = Model(name)

        @bentoml.api(batchable=True, max_batch_size=MAX_BATCH_ROWS)
        def predict(self, pixels: Rows) -> np.ndarray:
            return self.model.predict(pixels)

    return bentoml.service(name=name, workers=1)(Member)


Linear, Svm, Mlp, Quality = map(member, ("linear", "svm", "mlp", "quality"))


@bentoml.service(workers=1)
class Vote:
    """Three members in parallel; the mean of their probabilities."""

    linear = bentoml.depends(Linear)
    svm = bentoml.depends(Svm)
    mlp = bentoml.depends(Mlp)

    @bentoml.api
    async def predict(self, pixels: list[float]) -> dict[str, Any]:
        """One picture."""
        rows = np.array([pixels], dtype=np.float32)
        votes = await asyncio.gather(*[one.to_async.predict(rows) for one in (self.linear, self.svm, self.mlp)])
        return prediction(np.mean(votes, axis=0)[0])


@bentoml.service(workers=1)
class Stages:
    """Is it legible? Then the reader reads it."""

    quality = bentoml.depends(Quality)
    mlp = bentoml.depends(Mlp)

    @bentoml.api
    async def predict(self, pixels: list[float]) -> dict[str, Any]:
        """One picture."""
        rows = np.array([pixels], dtype=np.float32)
        illegible, legible = (await self.quality.to_async.predict(rows))[0]
        if illegible > legible:
            return {"digit": None}
        return prediction((await self.mlp.to_async.predict(rows))[0])
