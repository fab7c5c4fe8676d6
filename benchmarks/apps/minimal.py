"""What most tutorials write: FastAPI, a pydantic model in, a pydantic model out, `session.run` in the endpoint.

No batching, limits, deadlines, metrics or request log; the same model file as ours, and as many threads.
"""

import os

import numpy as np
import onnxruntime as ort
from fastapi import FastAPI
from pydantic import BaseModel, Field


class Picture(BaseModel):
    """A scan of one digit on an 8x8 grid."""

    pixels: list[float] = Field(min_length=64, max_length=64)


class Prediction(BaseModel):
    """What the model makes of it."""

    digit: int
    confidence: float
    probabilities: list[float]


def create_app() -> FastAPI:
    """`async def`: the model runs in the event loop, one picture at a time."""
    app, session = FastAPI(), open_session()

    @app.post("/predict")
    async def predict(picture: Picture) -> Prediction:
        return run(session, picture)

    return app


def create_app_with_threads() -> FastAPI:
    """`def`: FastAPI runs the endpoint in its thread pool."""
    app, session = FastAPI(), open_session()

    @app.post("/predict")
    def predict(picture: Picture) -> Prediction:
        return run(session, picture)

    return app


def open_session() -> ort.InferenceSession:
    """The model that MODEL_URI names, with MODEL_THREADS threads."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = int(os.environ["MODEL_THREADS"])
    return ort.InferenceSession(os.environ["MODEL_URI"], options, providers=["CPUExecutionProvider"])


def run(session: ort.InferenceSession, picture: Picture) -> Prediction:
    """Predict one picture."""
    features = np.array([picture.pixels], dtype=np.float32)
    probabilities = session.run(["probabilities"], {"features": features})[0][0]
    digit = int(probabilities.argmax())
    return Prediction(digit=digit, confidence=probabilities[digit], probabilities=probabilities.tolist())
