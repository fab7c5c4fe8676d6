"""Requests of the Open Inference Protocol over REST, in JSON and in binary, and what a refusal looks like."""

import json
from typing import Any

import httpx

from tests.support.open_inference.tensors import Arrays, described, in_binary, in_json
from tests.support.service_process import Server

INFER = "/v2/models/mlp/infer"
LENGTH = "Inference-Header-Content-Length"


def ask(server: Server, inputs: Arrays, model: str = "mlp", **request: object) -> httpx.Response:
    return server.client.post(f"/v2/models/{model}/infer", content=json.dumps(in_json(inputs, **request)))


def ask_binary(
    server: Server, head: dict[str, Any], parts: list[bytes], path: str = INFER, **headers: str
) -> httpx.Response:
    """A request whose tensors follow its JSON; `head` need not tell the truth about them."""
    text = json.dumps(head).encode()
    return server.client.post(path, content=text + b"".join(parts), headers={LENGTH: str(len(text))} | headers)


def sized(inputs: Arrays, **request: object) -> dict[str, Any]:
    tensors = described(inputs)
    for each, part in zip(tensors, in_binary(inputs), strict=True):
        each["parameters"] = {"binary_data_size": len(part)}
    return {"inputs": tensors} | request


def refused(answer: httpx.Response, status: int, *words: str) -> None:
    """A problem in the protocol's own form: this status, and these words in it."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert list(answer.json()) == ["error"]
    assert all(word in answer.json()["error"] for word in words), answer.text
