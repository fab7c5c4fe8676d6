"""The path of each pattern that serves predictions, with its app, for a `TestClient`."""

from collections.abc import Callable

import httpx2
from fastapi import FastAPI
from pydantic import SecretStr

from asynchronous import proxy as asynchronous
from asynchronous.settings import ProxySettings as AsynchronousSettings
from microservice_horizontal import proxy as microservice_horizontal
from microservice_vertical import proxy as microservice_vertical
from synchronous import proxy as synchronous
from tests.support.samples import SEVEN_PIXELS
from web_single import predictor as web_single
from web_single.settings import Settings as WebSingleSettings

NOWHERE = SecretStr("redis://127.0.0.1:1/0")
INFER = {"inputs": [{"name": "features", "shape": [1, 64], "datatype": "FP32", "data": SEVEN_PIXELS}]}
DIGIT = {"pixels": SEVEN_PIXELS}
HotPath = tuple[FastAPI, str, object]
"""An app, the path at which it serves predictions, and a body."""

HOT_PATHS: dict[str, tuple[Callable[[], FastAPI], str, object]] = {
    "web_single": (lambda: web_single.create_app(WebSingleSettings(grpc_port=0)), "/predict", DIGIT),
    "open_inference": (lambda: web_single.create_app(WebSingleSettings(grpc_port=0)), "/v2/models/mlp/infer", INFER),
    "synchronous": (synchronous.create_app, "/letters", DIGIT),
    "asynchronous": (lambda: asynchronous.create_app(AsynchronousSettings(redis_url=NOWHERE)), "/jobs", DIGIT),
    "microservice_vertical": (microservice_vertical.create_app, "/predict", DIGIT),
    "microservice_horizontal": (microservice_horizontal.create_app, "/predict", DIGIT),
}
"""By pattern: its app, the path that serves predictions, and a body. Backends and Redis are not there: an answer that
passed what a test adds is a 200, or a 5xx that names what is missing.
"""


def passed(response: httpx2.Response) -> bool:
    """Whether an answer came through all that a test added to the app."""
    return response.status_code in (200, 202, 502, 503, 504)
