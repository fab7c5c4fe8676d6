"""Ray Serve: one replica, with dynamic batching: `python -m benchmarks.peers.ray_app Reader` (or Vote, Stages)

The other two are its composition: deployments that call others through handles, a process each.
"""

import asyncio
import os
import sys
from typing import Any

import numpy as np
import ray
from ray import serve
from ray.serve.handle import DeploymentHandle
from starlette.requests import Request

from benchmarks.peers.inference import MAX_BATCH_ROWS, Model, prediction

MAX_REQUESTS = 256
"""More than there are connections, for each replica."""
CPUS = 8
"""Logical ones: Ray starts a replica only where it counts one as free. All run on the CPUs that they are given."""


class Batched:
    """A model behind `@serve.batch`."""

    def __init__(self, name: str = "") -> None:
        self.model = Model(name)

    @serve.batch(max_batch_size=MAX_BATCH_ROWS, batch_wait_timeout_s=0.0)
    async def predict(self, pictures: list[list[float]]) -> list[np.ndarray]:
        """Probabilities for each."""
        return list(self.model.predict(pictures))


@serve.deployment(max_ongoing_requests=MAX_REQUESTS)
class Reader(Batched):
    """Asked over HTTP."""

    async def __call__(self, request: Request) -> dict[str, Any]:
        """One picture."""
        return prediction(await self.predict((await request.json())["pixels"]))


@serve.deployment(max_ongoing_requests=MAX_REQUESTS)
class Member(Batched):
    """Asked by other deployments."""


@serve.deployment(max_ongoing_requests=MAX_REQUESTS)
class Vote:
    """Three members in parallel; the mean of their probabilities."""

    def __init__(self, *members: DeploymentHandle) -> None:
        self.members = members

    async def __call__(self, request: Request) -> dict[str, Any]:
        """One picture."""
        pixels = (await request.json())["pixels"]
        votes = await asyncio.gather(*[member.predict.remote(pixels) for member in self.members])
        return prediction(np.mean(votes, axis=0))


@serve.deployment(max_ongoing_requests=MAX_REQUESTS)
class Stages:
    """Is it legible? Then the reader reads it."""

    def __init__(self, quality: DeploymentHandle, reader: DeploymentHandle) -> None:
        self.quality, self.reader = quality, reader

    async def __call__(self, request: Request) -> dict[str, Any]:
        """One picture."""
        pixels = (await request.json())["pixels"]
        illegible, legible = await self.quality.predict.remote(pixels)
        if illegible > legible:
            return {"digit": None}
        return prediction(await self.reader.predict.remote(pixels))


def member(name: str) -> serve.Application:
    """One of our models, as a deployment of its own."""
    return Member.options(name=name).bind(name)  # type: ignore[attr-defined]


def main() -> None:
    """Serve one of the three until the process is ended."""
    applications = {
        "Reader": lambda: Reader.bind(),  # type: ignore[attr-defined]
        "Vote": lambda: Vote.bind(*map(member, ("linear", "svm", "mlp"))),  # type: ignore[attr-defined]
        "Stages": lambda: Stages.bind(*map(member, ("quality", "mlp"))),  # type: ignore[attr-defined]
    }
    ray.init(address="local", num_cpus=CPUS, include_dashboard=False, _temp_dir=os.environ["RAY_FOLDER"])
    serve.start(http_options={"host": "127.0.0.1", "port": int(os.environ["PORT"])})
    serve.run(applications[sys.argv[1]](), route_prefix="/predict", blocking=True)


if __name__ == "__main__":
    main()
