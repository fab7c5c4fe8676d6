"""Start and shutdown of the gRPC server: a taken port ends the process, calls in flight are finished, none is lost."""

import asyncio
import time
from collections.abc import Iterator

import grpc
import numpy as np
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from common.open_inference.generated import open_inference_pb2 as pb
from tests.support.load.grpc_and_rest import inference_stub
from tests.support.models.onnx_models import slow_pixels, slow_reader
from tests.support.open_inference.grpc_client import GrpcClient, grpc_client, message, outputs_of
from tests.support.open_inference.tensors import SEVEN_TENSOR
from tests.support.processes import free_port
from tests.support.service_process import serving, starting

Code = grpc.StatusCode


@pytest.fixture(scope="module")
def client() -> Iterator[GrpcClient]:
    with grpc_client(max_body_bytes=100_000) as client:
        yield client


@pytest.mark.full
def test_taken_port_ends_the_process_and_an_empty_one_disables_grpc(client: GrpcClient) -> None:
    with starting(grpc_port=client.port) as second:
        assert second.process.wait(20)
        log = second.log.read_text()
        assert f"cannot start: gRPC cannot listen on 127.0.0.1:{client.port}: set GRPC_PORT" in log
        assert "Traceback" not in log
    with serving(grpc_port="") as none:
        assert none.get("/v2/health/ready").status_code == 200


@pytest.mark.full
def test_health_reports_sigterm_and_calls_in_flight_are_finished(tmp_path_factory: pytest.TempPathFactory) -> None:
    uri = slow_reader(tmp_path_factory.mktemp("models") / "slow.onnx")
    with grpc_client(model_uri=uri, batching="on", drain_seconds=1.0) as client:
        watched = client.health.Watch(HealthCheckRequest(service="inference.GRPCInferenceService"))
        assert next(watched).status == HealthCheckResponse.SERVING
        slow = {"features": np.array([slow_pixels(1.6)["pixels"]], np.float32)}
        in_flight = client.stub.ModelInfer.future(message(slow, model="slow"), timeout=10)
        time.sleep(0.2)
        client.server.process.terminate()
        assert next(watched).status == HealthCheckResponse.NOT_SERVING
        assert not client.stub.ServerReady(pb.ServerReadyRequest()).ready
        late = client.stub.ModelInfer.future(message(SEVEN_TENSOR, model="slow"), timeout=10)
        assert outputs_of(in_flight.result())["label"].tolist() == [7]
        assert outputs_of(late.result())["label"].tolist() == [7]
        client.server.process.wait(5)  # who watches the health does not hold the server up
        assert not [line for line in client.server.log_lines() if line["level"] == "ERROR"]


@pytest.mark.full
@pytest.mark.parametrize(
    ("host", "target"),
    [
        ("::1", "[::1]"),
        ("[::1]", "[::1]"),
        ("::", "127.0.0.1"),
        ("[::]", "127.0.0.1"),
        ("localhost", "localhost"),
    ],
)
def test_grpc_is_served_on_ipv6_too(host: str, target: str) -> None:
    port = free_port()
    with serving(grpc_host=host, grpc_port=port), grpc.insecure_channel(f"{target}:{port}") as channel:
        assert inference_stub(channel).ServerReady(pb.ServerReadyRequest(), timeout=5).ready


def test_no_call_is_lost_when_the_server_ends() -> None:
    """16 callers who do not heed the health: what they get is an answer, or once the port is closed, no connection."""
    with grpc_client(drain_seconds=0.3) as client:
        answers, failures = asyncio.run(ask_to_the_end(client))
        assert len(answers) > 100
        assert set(answers) == {7}
        assert set(failures) <= {Code.UNAVAILABLE, Code.CANCELLED}, failures
        assert client.server.process.wait(5) is not None


async def ask_to_the_end(client: GrpcClient) -> tuple[list[int], list[grpc.StatusCode]]:
    answers: list[int] = []
    failures: list[grpc.StatusCode] = []
    async with grpc.aio.insecure_channel(f"127.0.0.1:{client.port}") as channel:

        async def caller() -> None:
            try:
                while True:
                    answer = await inference_stub(channel).ModelInfer(message(SEVEN_TENSOR), timeout=10)
                    answers.append(int(outputs_of(answer)["label"][0]))
            except grpc.aio.AioRpcError as error:
                failures.append(error.code())

        async def end() -> None:
            await asyncio.sleep(0.5)
            client.server.process.terminate()

        await asyncio.gather(end(), *(caller() for _ in range(16)))
        return answers, failures


@pytest.mark.full
def test_ctrl_c_does_not_wait_for_the_drain(client: GrpcClient) -> None:
    with grpc_client(drain_seconds=20) as other:
        assert other.infer(SEVEN_TENSOR).model_name == "mlp"
        other.server.process.send_signal(2)
        other.server.process.wait(3)
