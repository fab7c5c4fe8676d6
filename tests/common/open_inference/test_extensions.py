"""Triton's extensions over REST: repository, configuration, statistics, classification; what is not there is named."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
from onnx import TensorProto, helper
from tritonclient.utils import InferenceServerException

from tests.support.models.onnx_models import save, tensor
from tests.support.open_inference.rest_client import ask, refused
from tests.support.open_inference.tensors import SEVEN_TENSOR, by_onnxruntime, described
from tests.support.samples import MLP, SEVEN_PIXELS
from tests.support.service_process import Server, serving


@pytest.fixture
def client(server: Server) -> Iterator[Any]:
    with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
        yield client


def test_repository_has_the_one_model(client: Any) -> None:
    (version,) = client.get_model_metadata("mlp")["versions"]
    expected = [{"name": "mlp", "version": version, "state": "READY", "reason": ""}]
    assert client.get_model_repository_index() == expected


def test_configuration_says_shapes_without_the_axis_of_rows(client: Any) -> None:
    config = client.get_model_config("mlp")
    assert config["max_batch_size"] == 64
    assert config["input"] == [{"name": "features", "data_type": "TYPE_FP32", "dims": [64]}]
    assert config["output"] == [
        {"name": "label", "data_type": "TYPE_INT64", "dims": []},
        {"name": "probabilities", "data_type": "TYPE_FP32", "dims": [10]},
    ]
    (version,) = client.get_model_metadata("mlp")["versions"]
    assert client.get_model_config("mlp", version) == config


@pytest.mark.full
def test_model_that_is_not_batched_has_no_batch_size_and_all_its_axes(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("models") / "sum.onnx"
    node = helper.make_node("ReduceSum", ["x"], ["y"], keepdims=0)
    uri = save(path, [node], [tensor("x", ["n", 2], TensorProto.FLOAT)], [tensor("y", [], TensorProto.FLOAT)])
    with serving(model_uri=uri) as server:
        config = server.get("/v2/models/sum/config").json()
    assert config["max_batch_size"] == 0
    assert [one["dims"] for one in (*config["input"], *config["output"])] == [[-1, 2], []]


def test_statistics_count_rows_batches_and_requests_since_the_start() -> None:
    with serving() as server, triton.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
        for rows in (1, 3):
            server.client.post("/v2/models/mlp/infer", json=request(rows))
        server.client.post("/v2/models/mlp/infer", json={})
        (of_model,) = client.get_inference_statistics("mlp")["model_stats"]
        assert client.get_inference_statistics()["model_stats"] == [of_model]
    assert (of_model["inference_count"], of_model["execution_count"]) == (4, 2)
    statistics = of_model["inference_stats"]
    assert (statistics["success"]["count"], statistics["fail"]["count"]) == (2, 1)
    assert statistics["compute_infer"]["count"] == 2
    assert 0 < statistics["compute_infer"]["ns"] < 10e9


def request(rows: int) -> dict[str, Any]:
    tensors = {"features": np.array([SEVEN_PIXELS] * rows, np.float32)}
    return {"inputs": [one | {"data": tensors[one["name"]].ravel().tolist()} for one in described(tensors)]}


@pytest.mark.parametrize("binary", [True, False])
def test_classification_gives_the_largest_scores_with_their_indices(client: Any, binary: bool) -> None:
    features = np.array([SEVEN_PIXELS] * 2, np.float32)
    given = triton.InferInput("features", [2, 64], "FP32")
    given.set_data_from_numpy(features)
    wanted = triton.InferRequestedOutput("probabilities", binary_data=binary, class_count=3)
    got = client.infer("mlp", [given], outputs=[wanted]).as_numpy("probabilities")
    scores = by_onnxruntime(str(MLP), {"features": features})["probabilities"]
    best = np.argsort(-scores, axis=1)[:, :3]
    texts = [[f"{scores[row, index]:f}:{index}" for index in best[row]] for row in range(2)]
    assert np.vectorize(lambda text: text.decode() if isinstance(text, bytes) else text)(got).tolist() == texts
    assert got[0][0].endswith(b":7" if binary else ":7")


def test_more_classes_than_there_are_give_all(server: Server) -> None:
    many = [{"name": "probabilities", "parameters": {"classification": 100}}]
    (output,) = ask(server, SEVEN_TENSOR, "mlp", outputs=many).json()["outputs"]
    assert (output["datatype"], output["shape"]) == ("BYTES", [1, 10])


def test_an_output_with_one_value_for_each_row_has_no_classes(server: Server) -> None:
    labels = [{"name": "label", "parameters": {"classification": 2}}]
    features = {"features": np.array([SEVEN_PIXELS] * 3, np.float32)}
    refused(ask(server, features, "mlp", outputs=labels), 400, "output label", "one value for each row")


@pytest.mark.parametrize(
    ("extension", "call"),
    [
        ("system_shared_memory", lambda client: client.get_system_shared_memory_status()),
        ("system_shared_memory", lambda client: client.register_system_shared_memory("a", "b", 1)),
        ("system_shared_memory", lambda client: client.unregister_system_shared_memory()),
        ("system_shared_memory", lambda client: client.unregister_system_shared_memory("a")),
        ("cuda_shared_memory", lambda client: client.get_cuda_shared_memory_status()),
        ("cuda_shared_memory", lambda client: client.register_cuda_shared_memory("a", b"handle", 0, 1)),
        ("cuda_shared_memory", lambda client: client.unregister_cuda_shared_memory()),
        ("cuda_shared_memory", lambda client: client.unregister_cuda_shared_memory("a")),
        ("loading and unloading models", lambda client: client.load_model("mlp")),
        ("loading and unloading models", lambda client: client.unload_model("mlp")),
        ("trace", lambda client: client.get_trace_settings()),
        ("trace", lambda client: client.get_trace_settings("mlp")),
        ("trace", lambda client: client.update_trace_settings(settings={"trace_rate": "1"})),
        ("trace", lambda client: client.update_trace_settings("mlp", {"trace_rate": "1"})),
        ("logging", lambda client: client.get_log_settings()),
        ("logging", lambda client: client.update_log_settings({"log_info": True})),
    ],
)
def test_extension_that_is_not_there_is_a_501_with_its_name(client: Any, extension: str, call: Any) -> None:
    with pytest.raises(InferenceServerException, match=f"not the extension: {extension}") as caught:
        call(client)
    assert caught.value.status() == "501"


def test_a_tensor_in_shared_memory_is_a_501_with_the_name_of_the_extension(client: Any) -> None:
    given, shared = (triton.InferInput("features", [1, 64], "FP32") for _ in range(2))
    given.set_data_from_numpy(np.zeros((1, 64), np.float32))
    shared.set_shared_memory("region", 256)
    wanted = triton.InferRequestedOutput("probabilities")
    wanted.set_shared_memory("region", 40)
    for inputs, outputs in (([shared], None), ([given], [wanted])):
        with pytest.raises(InferenceServerException, match="not the extension: system_shared_memory") as caught:
            client.infer("mlp", inputs, outputs=outputs)
        assert caught.value.status() == "501"
