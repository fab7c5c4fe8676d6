"""Every type of tensor over REST, in JSON, binary or mixed: right answers, and a 400 that names the wrong input."""

import json
from collections.abc import Iterator

import numpy as np
import pytest

from tests.support.open_inference.rest_client import LENGTH, ask, ask_binary, refused, sized
from tests.support.open_inference.tensors import by_onnxruntime, every_type, from_json, in_binary, in_json, same, values
from tests.support.service_process import Server, serving


@pytest.fixture(scope="module")
def all_types(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str]]:
    uri = every_type(tmp_path_factory.mktemp("models") / "every_type.onnx")
    with serving(model_uri=uri) as server:
        yield server, uri


# Right answers


@pytest.mark.parametrize("rows", [1, 3, 64])
def test_every_type_in_json(all_types: tuple[Server, str], rows: int) -> None:
    server, uri = all_types
    inputs = values(rows, rows)
    same(from_json(ask(server, inputs, "every_type")), by_onnxruntime(uri, inputs))


@pytest.mark.parametrize("padding", range(4))
def test_every_type_in_binary(all_types: tuple[Server, str], padding: int) -> None:
    """Whatever the length of the JSON, and so the alignment of the numbers after it."""
    server, uri = all_types
    inputs = values(3, padding)
    head = sized(inputs, id="x" * padding, parameters={"binary_data_output": True})
    answer = ask_binary(server, head, in_binary(inputs), "/v2/models/every_type/infer")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/octet-stream"
    length = int(answer.headers[LENGTH])
    document, start = json.loads(answer.content[:length]), length
    assert document["id"] == "x" * padding
    for output, expected in zip(document["outputs"], by_onnxruntime(uri, inputs).items(), strict=True):
        end = start + output["parameters"]["binary_data_size"]
        assert (output["name"], output["shape"]) == (expected[0], list(expected[1].shape))
        assert answer.content[start:end] == in_binary(dict([expected]))[0]
        start = end
    assert start == len(answer.content)


def test_some_inputs_in_json_and_some_outputs_in_binary(all_types: tuple[Server, str]) -> None:
    server, _ = all_types
    inputs = values(2, 0)
    request = in_json(inputs, outputs=[{"name": "out_INT8"}, {"name": "sum", "parameters": {"binary_data": True}}])
    parts = []
    for each, part in list(zip(request["inputs"], in_binary(inputs), strict=True))[::2]:
        del each["data"]
        each["parameters"] = {"binary_data_size": len(part)}
        parts.append(part)
    answer = ask_binary(server, request, parts, "/v2/models/every_type/infer")
    head, total = (
        json.loads(answer.content[: int(answer.headers[LENGTH])]),
        answer.content[int(answer.headers[LENGTH]) :],
    )
    assert [output["name"] for output in head["outputs"]] == ["out_INT8", "sum"]
    assert head["outputs"][0]["data"] == inputs["in_INT8"].ravel().tolist()
    np.testing.assert_array_equal(np.frombuffer(total), (inputs["in_FP32"] + inputs["in_FP64"]).ravel())


def test_nan_and_infinity_come_back_unchanged(all_types: tuple[Server, str]) -> None:
    server, _ = all_types
    inputs = values(1, 0)
    inputs["in_FP64"] = np.array([[np.nan, -np.inf]])
    same({"x": from_json(ask(server, inputs, "every_type"))["out_FP64"]}, {"x": inputs["in_FP64"]})


@pytest.mark.parametrize("data", [[10**20, -(10**20)], [2**64, 0.5], [[2**64, -1]]])
@pytest.mark.parametrize("name", ["FP32", "FP64"])
def test_whole_numbers_of_any_size_are_floats(all_types: tuple[Server, str], name: str, data: list[object]) -> None:
    """JavaScript writes 1e20 as 100000000000000000000."""
    server, _ = all_types
    request = in_json(values(1, 0))
    next(each for each in request["inputs"] if each["name"] == f"in_{name}")["data"] = data
    got = from_json(server.client.post("/v2/models/every_type/infer", json=request))[f"out_{name}"]
    np.testing.assert_array_equal(got, np.array(data, got.dtype).reshape(1, 2))


# What is refused


def test_wrong_values_of_other_types(all_types: tuple[Server, str]) -> None:
    server, _ = all_types
    wrong: dict[str, list[list[object]]] = {
        "BOOL": [[1, 0], ["true", "false"]],
        "UINT8": [[-1, 0], [256, 0], [1.0, 2.0]],
        "UINT64": [[-1, 2**63], [2**64, 0], [2**63, 1.5], [2**63, "1"]],
        "INT64": [[2**63, 0], [0.5, 1.5], [True, False]],
        "FP16": [[1e5, 0], ["1", "2"], [2**64, 0]],
        "FP32": [[10**39, 0], [2**64, True], [2**64, None], [2**64, "1"]],
        "BYTES": [[1, 2], ["a", None], [["a"], ["b", "c"]], ["a"]],
    }
    for name, cases in wrong.items():
        for case in cases:
            request = in_json(values(1, 0))
            next(each for each in request["inputs"] if each["name"] == f"in_{name}")["data"] = case
            refused(server.client.post("/v2/models/every_type/infer", json=request), 400, f"in_{name}")
    inputs = values(1, 0)
    del inputs["in_FP16"]
    refused(ask(server, inputs, "every_type"), 400, "in_FP16")
    large = values(1, 0) | {"in_UINT64": np.array([[2**63, 1]], np.uint64)}
    same({"x": from_json(ask(server, large, "every_type"))["out_UINT64"]}, {"x": large["in_UINT64"]})


def test_wrong_strings_in_binary(all_types: tuple[Server, str]) -> None:
    server, _ = all_types
    inputs = values(1, 0)
    place = list(inputs).index("in_BYTES")
    for wrong in (b"", b"\1\0\0\0", b"\1\0\0\0a", b"\xff\xff\xff\xffab", b"\1\0\0\0a\1\0\0", b"\1\0\0\0\xff\1\0\0\0a"):
        parts, head = in_binary(inputs), sized(inputs)
        parts[place] = wrong
        head["inputs"][place]["parameters"]["binary_data_size"] = len(wrong)
        refused(ask_binary(server, head, parts, "/v2/models/every_type/infer"), 400, "in_BYTES")
