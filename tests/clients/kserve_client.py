"""Every call of kserve's clients: `python -m tests.clients.kserve_client HTTP_PORT GRPC_PORT`

In a process of its own: kserve brings the protocol's messages too, and a process can have them but once.
"""

import asyncio
import sys
from typing import Any

import httpx
import numpy as np
import pytest
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferOutput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput

from tests.support.open_inference.tensors import datatype_of, values

MODEL = "every_type"


def tensors(inputs: dict[str, Any], binary: bool) -> list[Any]:
    made = []
    for name, array in inputs.items():
        made.append(InferInput(name, list(array.shape), datatype_of(array)))
        made[-1].set_data_from_numpy(array, binary_data=binary or name == "in_FP16")
    return made


async def ask_rest(url: str) -> None:
    async with InferenceRESTClient(RESTConfig(protocol="v2", retries=0)) as client:
        assert await client.is_server_live(url)
        assert await client.is_server_ready(url)
        assert await client.is_model_ready(url, MODEL)
        assert not await client.is_model_ready(url, "nope")
        for binary in (True, False):
            inputs = values(3, 1)
            request = InferRequest(MODEL, tensors(inputs, binary), request_id="7", parameters={"note": "any"})
            answer = await client.infer(url, request, MODEL)
            assert answer.id == "7"
            right(answer.outputs, inputs)
            wanted = [RequestedOutput("sum", {"binary_data": binary})]
            request = InferRequest(MODEL, tensors(inputs, binary), request_outputs=wanted)
            assert [output.name for output in (await client.infer(url, request, MODEL)).outputs] == ["sum"]
        with pytest.raises(httpx.HTTPStatusError, match="in_BOOL"):
            await client.infer(url, InferRequest(MODEL, tensors(values(1, 0), True)[1:]), MODEL)


async def ask_grpc(url: str) -> None:
    async with InferenceGRPCClient(url) as client:
        assert await client.is_server_live()
        assert await client.is_server_ready()
        assert await client.is_model_ready(MODEL)
        inputs = values(3, 1)
        right((await client.infer(InferRequest(MODEL, tensors(inputs, True)))).outputs, inputs)


def right(outputs: list[InferOutput], inputs: dict[str, Any]) -> None:
    for output in outputs:
        if output.name == "sum":
            np.testing.assert_array_equal(output.as_numpy(), inputs["in_FP32"] + inputs["in_FP64"])
            continue
        expected = inputs[output.name.replace("out_", "in_")]
        got = output.as_numpy()
        if expected.dtype == object:
            got = np.vectorize(lambda text: text.decode() if isinstance(text, bytes) else text, otypes="O")(got)
        np.testing.assert_array_equal(got, expected)


if __name__ == "__main__":
    asyncio.run(ask_rest(f"http://127.0.0.1:{sys.argv[1]}"))
    asyncio.run(ask_grpc(f"127.0.0.1:{sys.argv[2]}"))
