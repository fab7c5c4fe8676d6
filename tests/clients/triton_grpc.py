"""Every call of tritonclient's gRPC client that a server of one model has: `python -m tests.clients.triton_grpc PORT`

In a process of its own: tritonclient brings the protocol's messages too, and a process can have them but once.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from queue import SimpleQueue
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from common.open_inference.extensions import EXTENSIONS
from tests.support.open_inference.tensors import values


def tensor(name: str, array: Any) -> Any:
    tensor = triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
    tensor.set_data_from_numpy(array)
    return tensor


def ask_all(url: str, model: str) -> None:
    """The blocking client."""
    client = triton.InferenceServerClient(url)
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(model)
    assert client.get_server_metadata().extensions == EXTENSIONS
    metadata = client.get_model_metadata(model)
    assert metadata.platform == "onnx_onnxv1"
    inputs = values(3, 1)
    tensors = [tensor(name, array) for name, array in inputs.items()]
    version = metadata.versions[0]
    right(client.infer(model, tensors, model_version=version, request_id="7", timeout=5_000_000), inputs)
    right(client.infer(model, tensors, compression_algorithm="gzip", client_timeout=5), inputs)
    wanted = [triton.InferRequestedOutput("sum")]
    some = client.infer(model, tensors, outputs=wanted, priority=1, parameters={"note": "any"})
    assert some.as_numpy("out_INT8") is None
    assert some.as_numpy("sum").shape == (3, 2)
    answers: SimpleQueue[tuple[Any, Any]] = SimpleQueue()
    client.async_infer(model, tensors, callback=lambda result, error: answers.put((result, error)))
    right(answers.get(timeout=10)[0], inputs)
    largest = client.infer(model, tensors, outputs=[triton.InferRequestedOutput("sum", class_count=1)]).as_numpy("sum")
    sums = (inputs["in_FP32"] + inputs["in_FP64"]).max(axis=1).tolist()
    assert [text.decode().partition(":")[0] for text in largest.ravel()] == [f"{value:f}" for value in sums]
    for count in (0, -1):
        none = triton.InferRequestedOutput("sum")
        none._get_tensor().parameters["classification"].int64_param = count
        with pytest.raises(InferenceServerException, match="expected a classification of 1 or more"):
            client.infer(model, tensors, outputs=[none])
    extensions(client, model, version)
    stream(url, model)
    wrong: dict[str, Callable[[], Any]] = {
        "NOT_FOUND": lambda: client.infer("nope", tensors),
        "INVALID_ARGUMENT": lambda: client.infer(model, tensors[:-1]),
    }
    for status, ask in wrong.items():
        with pytest.raises(InferenceServerException) as caught:
            ask()
        assert status in str(caught.value.status())
    client.close()


def extensions(client: Any, model: str, version: str) -> None:
    """The repository, the configuration, the statistics; what is not there is named."""
    (indexed,) = client.get_model_repository_index().models
    assert (indexed.name, indexed.version, indexed.state) == (model, version, "READY")
    config = client.get_model_config(model).config
    assert (config.name, config.platform, config.max_batch_size) == (model, "onnxruntime_onnx", 64)
    assert {tensor.name: tensor.dims for tensor in config.input}["in_FP32"] == [2]
    (statistics,) = client.get_inference_statistics(model).model_stats
    assert statistics.inference_stats.success.count >= 4
    assert statistics.inference_count >= 4 * 3
    not_here: list[tuple[str, Callable[[], Any]]] = [
        ("system_shared_memory", lambda: client.infer(model, [in_shared_memory()])),
        ("system_shared_memory", client.get_system_shared_memory_status),
        ("system_shared_memory", lambda: client.register_system_shared_memory("a", "b", 1)),
        ("system_shared_memory", client.unregister_system_shared_memory),
        ("cuda_shared_memory", client.get_cuda_shared_memory_status),
        ("cuda_shared_memory", lambda: client.register_cuda_shared_memory("a", b"aGFuZGxl", 0, 1)),
        ("cuda_shared_memory", client.unregister_cuda_shared_memory),
        ("loading and unloading", lambda: client.load_model(model)),
        ("loading and unloading", lambda: client.unload_model(model)),
        ("trace", client.get_trace_settings),
        ("trace", lambda: client.update_trace_settings(model, {"trace_rate": "1"})),
        ("logging", client.get_log_settings),
        ("logging", lambda: client.update_log_settings({"log_info": True})),
    ]
    for name, ask in not_here:
        with pytest.raises(InferenceServerException, match=f"not the extension: {name}") as caught:
            ask()
        assert caught.value.status() == "StatusCode.UNIMPLEMENTED"


def in_shared_memory() -> triton.InferInput:
    """An input whose elements are not in the request."""
    given = triton.InferInput("in_FP32", [1, 2], "FP32")
    given.set_shared_memory("region", 8)
    return given


def stream(url: str, model: str) -> None:
    """Several requests in flight, one of them wrong; each is answered, in order, and the stream goes on."""
    answers: SimpleQueue[tuple[Any, Any]] = SimpleQueue()
    many = [values(1 + seed % 3, seed) for seed in range(40)]
    with triton.InferenceServerClient(url) as client:
        client.start_stream(lambda result, error: answers.put((result, error)), stream_timeout=20)
        for number, inputs in enumerate(many):
            tensors = [tensor(*each) for each in inputs.items()]
            if number == 20:
                client.async_stream_infer(model, tensors[1:])
            client.async_stream_infer(model, tensors, request_id=str(number), enable_empty_final_response=True)
        for number, inputs in enumerate(many):
            if number == 20:
                result, error = answers.get(timeout=10)
                assert result is None
                assert "in_BOOL" in str(error)
            result, error = answers.get(timeout=10)
            assert error is None
            right(result, inputs)
            assert result.get_response().id == str(number)
            assert result.get_response().parameters["triton_final_response"].bool_param
        client.stop_stream()
        client.start_stream(lambda result, error: answers.put((result, error)))
        client.stop_stream(cancel_requests=True)
        assert "cancelled" in str(answers.get(timeout=10)[1]).lower()


async def ask_at_once(url: str, model: str) -> None:
    """The asynchronous client, 50 requests at a time."""
    async with triton_aio.InferenceServerClient(url) as client:
        assert await client.is_server_ready()
        many = [values(1 + seed % 3, seed) for seed in range(50)]
        asked = [client.infer(model, [tensor(*each) for each in inputs.items()]) for inputs in many]
        for result, inputs in zip(await asyncio.gather(*asked), many, strict=True):
            right(result, inputs)

        async def requests() -> AsyncIterator[dict[str, Any]]:
            for inputs in many:
                yield {"model_name": model, "inputs": [tensor(*each) for each in inputs.items()]}
            yield {"model_name": "nope", "inputs": []}

        answers = [answer async for answer in client.stream_infer(requests(), stream_timeout=20)]
        for (result, error), inputs in zip(answers[:-1], many, strict=True):
            assert error is None
            right(result, inputs)
        assert "nope" in str(answers[-1][1])


def right(result: Any, inputs: dict[str, Any]) -> None:
    for name, array in inputs.items():
        got = result.as_numpy(name.replace("in_", "out_"))
        expected = np.vectorize(str.encode, otypes="O")(array) if array.dtype == object else array
        np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(result.as_numpy("sum"), inputs["in_FP32"] + inputs["in_FP64"])


if __name__ == "__main__":
    address = f"127.0.0.1:{sys.argv[1]}"
    ask_all(address, "every_type")
    asyncio.run(ask_at_once(address, "every_type"))
