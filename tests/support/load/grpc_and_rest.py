"""Predictions over REST and gRPC, and a load of them that notes every failure."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event
from types import SimpleNamespace
from typing import Any

import grpc
import grpc.aio

from common.open_inference.generated import open_inference_pb2 as pb
from tests.support.processes import wait_until
from tests.support.samples import SEVEN_PIXELS
from tests.support.service_process import client_of

Call = Callable[[], str]
"""One prediction; gives the version of the model that made it, raises if there is none."""


@contextmanager
def rest_calls(port: int, **headers: str) -> Iterator[Call]:
    """Reads a seven over REST."""
    with client_of(port, 20, **headers) as client:

        def call() -> str:
            answer = client.post("/predict", json={"pixels": SEVEN_PIXELS})
            assert answer.status_code == 200, f"{answer.status_code} {answer.text}"
            assert answer.json()["digit"] == 7
            return str(answer.json()["model"]["version"])

        yield call


def inference_stub(channel: grpc.Channel | grpc.aio.Channel) -> Any:
    """The methods of the service by name, as generated code would have them, from its description alone."""
    service = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    return SimpleNamespace(
        **{
            method.name: (channel.stream_stream if method.client_streaming else channel.unary_unary)(
                f"/{service.full_name}/{method.name}",
                getattr(pb, method.input_type.name).SerializeToString,
                getattr(pb, method.output_type.name).FromString,
            )
            for method in service.methods
        }
    )


@contextmanager
def grpc_calls(target: str, model: str = "mlp", policy: str = "pick_first", **metadata: str) -> Iterator[Call]:
    """Reads a seven over gRPC, every time on the same channel."""
    with grpc.insecure_channel(target, [("grpc.lb_policy_name", policy), ("grpc.enable_retries", 0)]) as channel:
        stub = inference_stub(channel)
        seven = pb.ModelInferRequest(model_name=model)
        seven.inputs.add(name="features", datatype="FP32", shape=[1, 64]).contents.fp32_contents.extend(SEVEN_PIXELS)

        def call() -> str:
            answer: pb.ModelInferResponse = stub.ModelInfer(seven, timeout=20, metadata=[*metadata.items()])
            labels = next(output for output in answer.outputs if output.name == "label")
            assert list(labels.contents.int64_contents) == [7]
            return answer.model_version

        yield call


@dataclass
class Load:
    """The predictions so far by version of the model, and what went wrong."""

    answers: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def goes_on(self, calls: int = 100) -> None:
        """Wait for so many more predictions."""
        wanted = self.answers.total() + calls
        wait_until(lambda: self.failures or self.answers.total() >= wanted)

    def no_failure(self) -> None:
        assert self.failures == []


@contextmanager
def load(call: Call, at_once: int = 8, pause_seconds: float = 0.02) -> Iterator[Load]:
    """Calls over and over, from several threads, until the end of the block."""
    result, over = Load(), Event()

    def go() -> None:
        while not over.is_set():
            try:
                result.answers[call()] += 1
            except Exception as error:
                result.failures.append(f"{time.strftime('%X')} {error!r}")
            over.wait(pause_seconds)

    with ThreadPoolExecutor(at_once) as threads:
        for _ in range(at_once):
            threads.submit(go)
        try:
            result.goes_on()
            yield result
        finally:
            over.set()
