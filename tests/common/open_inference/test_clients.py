"""tritonclient and kserve's clients, whole, against a real server: what the protocol is for."""

import asyncio
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from common.open_inference.extensions import EXTENSIONS
from tests.support.models.onnx_models import slow_pixels, slow_reader
from tests.support.open_inference.tensors import every_type, values
from tests.support.processes import free_port, output_of
from tests.support.samples import SEVEN_PIXELS
from tests.support.service_process import Server, serving

SEVEN = np.array([SEVEN_PIXELS], np.float32)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, int]]:
    """One that echoes tensors of every type, and its port for gRPC."""
    port = free_port()
    uri = every_type(tmp_path_factory.mktemp("models") / "every_type.onnx")
    with serving(model_uri=uri, grpc_port=port) as server:
        yield server, port


@pytest.fixture
def client(servers: tuple[Server, int]) -> Iterator[Any]:
    with triton.InferenceServerClient(f"127.0.0.1:{servers[0].port}", concurrency=8) as client:
        yield client


def tensors(inputs: dict[str, Any], binary: bool = True) -> list[Any]:
    made = []
    for name, array in inputs.items():
        made.append(triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype)))
        made[-1].set_data_from_numpy(array, binary_data=binary or array.dtype == np.float16)
    return made


def wanted(inputs: dict[str, Any], binary: bool) -> list[Any]:
    names = ["sum", *(name.replace("in_", "out_") for name in inputs)]
    return [triton.InferRequestedOutput(name, binary_data=binary) for name in names]


def right(result: Any, inputs: dict[str, Any]) -> None:
    for name, array in inputs.items():
        got = result.as_numpy(name.replace("in_", "out_"))
        expected = array
        if array.dtype == object and got.size and isinstance(got.flat[0], bytes):
            expected = np.vectorize(str.encode, otypes="O")(array)
        np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(result.as_numpy("sum"), inputs["in_FP32"] + inputs["in_FP64"])


def test_triton_http_health_and_metadata(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("every_type")
    assert not client.is_model_ready("nope")
    assert client.get_server_metadata()["extensions"] == EXTENSIONS
    metadata = client.get_model_metadata("every_type")
    assert metadata["platform"] == "onnx_onnxv1"
    version = metadata["versions"][0]
    assert client.is_model_ready("every_type", version)
    assert client.get_model_metadata("every_type", version) == metadata


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
def test_triton_http_json_and_binary_in_and_out(client: Any, binary_in: bool, binary_out: bool) -> None:
    inputs = values(3, 1)
    result = client.infer("every_type", tensors(inputs, binary_in), outputs=wanted(inputs, binary_out))
    right(result, inputs)


def test_triton_http_defaults_and_every_option(client: Any) -> None:
    inputs = values(50, 1)
    right(client.infer("every_type", tensors(inputs)), inputs)
    right(client.infer("every_type", tensors(inputs), timeout=5_000_000, request_id="7", priority=1), inputs)
    for algorithm in ("gzip", "deflate"):
        for binary in (True, False):
            result = client.infer(
                "every_type",
                tensors(inputs, binary),
                outputs=wanted(inputs, binary),
                model_version=client.get_model_metadata("every_type")["versions"][0],
                request_compression_algorithm=algorithm,
                response_compression_algorithm=algorithm,
                parameters={"note": "any"},
            )
            right(result, inputs)
    many = [values(1 + seed % 3, seed) for seed in range(30)]
    asked = [client.async_infer("every_type", tensors(each)) for each in many]
    for each, answer in zip(many, asked, strict=True):
        right(answer.get_result(), each)


def test_triton_http_asynchronous_client(servers: tuple[Server, int]) -> None:
    async def ask() -> None:
        async with triton_aio.InferenceServerClient(f"127.0.0.1:{servers[0].port}") as client:
            assert await client.is_server_ready()
            many = [values(1 + seed % 3, seed) for seed in range(30)]
            results = await asyncio.gather(*(client.infer("every_type", tensors(each)) for each in many))
            for each, result in zip(many, results, strict=True):
                right(result, each)

    asyncio.run(ask())


@pytest.mark.full
def test_triton_http_errors(client: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    inputs = values(1, 0)
    for name, asked, status in (("nope", tensors(inputs), "404"), ("every_type", tensors(inputs)[1:], "400")):
        with pytest.raises(InferenceServerException) as caught:
            client.infer(name, asked)
        assert caught.value.status() == status
        assert "every_type" in str(caught.value) or "in_BOOL" in str(caught.value)
    with serving(model_uri=slow_reader(tmp_path_factory.mktemp("models") / "slow.onnx"), batching="on") as slow:
        late = triton.InferenceServerClient(f"127.0.0.1:{slow.port}")
        with pytest.raises(InferenceServerException, match="deadline"):
            late.infer(
                "slow", tensors({"features": np.array([slow_pixels(0.5)["pixels"]], np.float32)}), timeout=50_000
            )


def test_triton_grpc(servers: tuple[Server, int]) -> None:
    output_of(sys.executable, "-m", "tests.clients.triton_grpc", str(servers[1]))


@pytest.mark.full
@pytest.mark.skipif(sys.version_info >= (3, 14), reason="kserve wants a Python below 3.14")
def test_kserve(servers: tuple[Server, int]) -> None:
    server, port = servers
    output_of(sys.executable, "-m", "tests.clients.kserve_client", str(server.port), str(port))


@pytest.mark.full
def test_rest_and_grpc_read_the_same_digit(tmp_path_factory: pytest.TempPathFactory) -> None:
    with serving() as server, triton.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
        result = client.infer("mlp", tensors({"features": SEVEN}))
        assert result.as_numpy("label").tolist() == [7]
        assert result.as_numpy("probabilities").shape == (1, 10)
