"""Any ONNX model: what can be served is served right, what cannot ends the process at start with one line."""

import hashlib
import os
import re
import socket
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper
from skl2onnx import to_onnx
from skl2onnx.common.data_types import DoubleTensorType
from sklearn.ensemble import RandomForestClassifier

from common.errors import Problem
from common.model import ANY, NO_BATCH, Model
from common.training.data import all_scans
from tests.processes import free_port, output_of, wait_until
from tests.servers import MLP, SEVEN_PIXELS, Server, is_ready, save, serving, starting, tensor, web_folder, web_server

NODE = helper.make_node


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier nobody here trained: ZipMap left on, string labels, double input."""
    return foreign_classifier(tmp_path_factory.mktemp("models") / "foreign.onnx", all_scans().labels.astype(str))


def foreign_classifier(path: Path, labels: NDArray[np.str_]) -> Path:
    classifier = RandomForestClassifier(20, random_state=0).fit(all_scans().features.astype(np.float64), labels)
    model = to_onnx(classifier, initial_types=[("x", DoubleTensorType([None, 64]))])
    assert model.graph.node[-1].op_type == "ZipMap"
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "model.onnx"


def ends_at_once(**settings: object) -> str:
    """What a server that cannot start says; it exits with an error, in one line, without having been ready."""
    with starting(**settings) as server:
        wait_until(lambda: server.process.poll() is not None or is_listening(server.port))
        assert server.process.poll() not in (0, None)
        lines = server.log.read_text().splitlines()
        assert len(lines) == 1, lines
        assert not re.search(r"\[ONNXRuntimeError\]|INVALID_PROTOBUF|Traceback", lines[0])
        return lines[0]


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def floats(*shape: int) -> NDArray[np.float32]:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


# A file that cannot be served

BROKEN: dict[str, bytes] = {
    "empty": b"",
    "text": b"not a model",
    "html": b"<!DOCTYPE html><html><body>Please log in</body></html>",
    "truncated": MLP.read_bytes()[:10_000],
    "no-graph": onnx.ModelProto(ir_version=10).SerializeToString(),
}


QUICK = ("empty", "truncated")


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(content, id=name, marks=[] if name in QUICK else pytest.mark.full)
        for name, content in BROKEN.items()
    ],
)
def test_a_file_that_is_no_model_ends_the_process_with_one_line(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    line = ends_at_once(model_uri=file)
    assert "is no ONNX model that can be run" in line
    assert "export it again" in line


NO_URL = pytest.param("http://", marks=pytest.mark.full)


@pytest.mark.parametrize("uri", ["missing.onnx", "http://127.0.0.1:{closed}/mlp.onnx", "{web}/missing.onnx", NO_URL])
def test_a_model_that_is_not_there_ends_the_process_with_one_line(tmp_path: Path, uri: str) -> None:
    with web_folder(tmp_path) as web:
        uri = uri.format(closed=free_port(), web=web)
        line = ends_at_once(model_uri=uri)
    assert f"no model at {uri}" in line
    assert "set MODEL_URI to" in line


@pytest.mark.full
def test_a_folder_in_place_of_a_model_ends_the_process_with_one_line(tmp_path: Path) -> None:
    assert "set MODEL_URI to" in ends_at_once(model_uri=tmp_path)


def test_a_web_page_in_place_of_a_model_ends_the_process_with_one_line(tmp_path: Path) -> None:
    (tmp_path / "mlp.onnx").write_bytes(BROKEN["html"])
    with web_folder(tmp_path) as web:
        assert "is no ONNX model that can be run" in ends_at_once(model_uri=f"{web}/mlp.onnx")


@pytest.mark.full
def test_a_model_server_that_is_silent_ends_the_process_after_the_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}/mlp.onnx"
        assert "timed out" in ends_at_once(model_uri=uri, model_download_timeout_seconds=0.2)


@pytest.mark.parametrize("source", ["path", pytest.param("url", marks=pytest.mark.full)])
def test_a_model_of_another_hash_ends_the_process_with_one_line(source: str) -> None:
    with web_folder(MLP.parent) as web:
        line = ends_at_once(model_uri=MLP if source == "path" else f"{web}/mlp.onnx", model_sha256="0" * 64)
    assert f"MODEL_SHA256 is {'0' * 64}" in line
    assert hashlib.sha256(MLP.read_bytes()).hexdigest() in line


def test_a_graph_that_cannot_predict_ends_the_process_with_one_line(file: Path) -> None:
    """A reshape to 7 columns, which 64 numbers do not fill: it loads, and fails at its first inference."""
    nodes = [NODE("Reshape", ["x", "shape"], ["y"])]
    save(file, nodes, [tensor("x", [None, 64])], [tensor("y", [None, 7])], shape=np.array([-1, 7]))
    assert "cannot predict" in ends_at_once(model_uri=file)


@pytest.mark.full
def test_an_input_that_is_no_tensor_ends_the_process_with_one_line(file: Path) -> None:
    sequence = helper.make_tensor_sequence_value_info("x", TensorProto.FLOAT, [None])
    save(file, [NODE("ConcatFromSequence", ["x"], ["y"], axis=0)], [sequence], [tensor("y", [None])])
    line = ends_at_once(model_uri=file)
    assert "the model's input x is a seq(tensor(float))" in line
    assert "export it with" in line


def test_a_server_is_not_ready_before_its_model_is_there() -> None:
    half, rest = MLP.read_bytes()[:10_000], MLP.read_bytes()[10_000:]
    asked, may_go_on = Event(), Event()

    class Slow(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(half)
            asked.set()
            may_go_on.wait(20)
            self.wfile.write(rest)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with web_server(Slow) as web, starting(model_uri=f"{web}/slow.onnx") as server:
        assert asked.wait(20)
        assert not is_ready(server)
        may_go_on.set()
        wait_until(lambda: is_ready(server))
        server.still_reads_right()


# A classifier that this repository did not train


@pytest.fixture(scope="module")
def foreign_server(foreign: Path) -> Iterator[Server]:
    with serving(model_uri=foreign) as server:
        yield server


def test_a_foreign_classifier_is_served_by_model_uri_alone(foreign_server: Server, foreign: Path) -> None:
    scans = all_scans()
    digits = foreign_server.read([{"pixels": row.tolist()} for row in scans.features[:50]]).json()
    right = [digit["digit"] == label for digit, label in zip(digits, scans.labels, strict=False)]
    assert sum(right) >= 49
    version = hashlib.sha256(foreign.read_bytes()).hexdigest()[:12]
    assert digits[0]["model"] == {"name": "foreign", "version": version}


def test_the_columns_of_a_foreign_classifier_are_in_the_order_of_the_digits(foreign_server: Server) -> None:
    scans = all_scans()
    for digit in range(10):
        row = scans.features[scans.labels == digit][0]
        reading = foreign_server.read({"pixels": row.tolist()}).json()
        assert reading["probabilities"].index(max(reading["probabilities"])) == digit == reading["digit"]
        assert sum(reading["probabilities"]) == pytest.approx(1, abs=1e-4)


def test_labels_of_a_zipmap_name_the_columns_of_its_output(foreign: Path) -> None:
    model = Model.load(str(foreign))
    (probabilities,) = [spec for spec in model.outputs if spec.labels]
    assert probabilities.labels == tuple("0123456789")
    assert probabilities.shape == (ANY, 10)
    assert model.inputs[0].dtype == np.float64


def test_a_model_whose_labels_are_no_digits_is_no_digit_reader(tmp_path: Path) -> None:
    words = np.char.add("digit ", all_scans().labels.astype(str))
    with serving(model_uri=foreign_classifier(tmp_path / "words.onnx", words)) as server:
        response = server.read({"pixels": SEVEN_PIXELS})
        assert response.status_code == 409
        assert "words reads no digits" in response.json()["detail"]


def test_a_model_that_reads_no_digits_is_ready_and_says_so_at_predict(file: Path) -> None:
    save(
        file,
        [NODE("Add", ["a", "b"], ["sum"])],
        [tensor("a", ["n", 3]), tensor("b", ["n", 3])],
        [tensor("sum", ["n", 3])],
    )
    with serving(model_uri=file, model_name="adder") as server:
        response = server.read({"pixels": SEVEN_PIXELS})
        assert response.status_code == 409
        assert response.headers["content-type"] == "application/problem+json"
        assert "adder reads no digits: " in response.json()["detail"]


# Where it comes from, and what it says of itself


@pytest.mark.parametrize("source", ["path", "file-url", "url"])
def test_a_model_of_the_right_hash_is_loaded_and_its_version_is_of_that_hash(source: str) -> None:
    digest = hashlib.sha256(MLP.read_bytes()).hexdigest()
    with web_folder(MLP.parent) as web:
        uri = {"path": str(MLP), "file-url": f"file://{MLP}", "url": f"{web}/mlp.onnx?token=1"}[source]
        model = Model.load(uri, sha256=digest)
    assert (model.name, model.version) == ("mlp", digest[:12])


def test_a_redirect_to_the_model_is_followed(tmp_path: Path) -> None:
    """Object stores answer with one; the folder of this web server redirects `models` to `models/`, with its index."""
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "index.html").write_bytes(MLP.read_bytes())
    with web_folder(tmp_path) as web:
        assert Model.load(f"{web}/models").inputs[0].shape == (ANY, 64)


def test_a_model_tells_its_inputs_and_outputs() -> None:
    model = Model.load(str(MLP))
    assert [tuple(spec) for spec in model.inputs] == [("features", np.dtype(np.float32), (ANY, 64), ())]
    assert [(spec.name, spec.dtype, spec.shape) for spec in model.outputs] == [
        ("label", np.dtype(np.int64), (ANY,)),
        ("probabilities", np.dtype(np.float32), (ANY, 10)),
    ]
    assert model.batch == ANY


# Shapes of all kinds


def test_a_model_with_two_inputs_gets_each_by_its_name(file: Path) -> None:
    model = Model.load(
        save(
            file,
            [NODE("Sub", ["a", "b"], ["c"])],
            [tensor("a", ["n", 2]), tensor("b", ["n", 2])],
            [tensor("c", ["n", 2])],
        )
    )
    assert [spec.name for spec in model.inputs] == ["a", "b"]
    outputs = model.run({"b": floats(3, 2), "a": 10 * floats(3, 2)})
    np.testing.assert_array_equal(outputs["c"], 9 * floats(3, 2))


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("rows", [1, 3, 4, 5, 9])
def test_a_fixed_batch_takes_fewer_and_more_rows(file: Path, batch: int, rows: int) -> None:
    nodes = [NODE("Mul", ["x", "two"], ["y"])]
    model = Model.load(save(file, nodes, [tensor("x", [batch, 3])], [tensor("y", [batch, 3])], two=np.float32(2)))
    assert model.batch == batch
    np.testing.assert_array_equal(model.run({"x": floats(rows, 3)})["y"], 2 * floats(rows, 3))


def test_a_digit_reader_of_a_fixed_batch_answers_lists_of_any_length_in_order(tmp_path: Path) -> None:
    model = onnx.load(MLP)
    for value in (model.graph.input[0], *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 4
    onnx.save(model, tmp_path / "fixed.onnx")
    free, features = Model.load(str(MLP)), all_scans().features
    with serving(model_uri=tmp_path / "fixed.onnx") as server:
        for rows in (1, 3, 4, 5, 9):
            readings = server.read([{"pixels": row.tolist()} for row in features[:rows]]).json()
            expected = free.run({"features": features[:rows]})["probabilities"]
            np.testing.assert_allclose([reading["probabilities"] for reading in readings], expected, atol=1e-5)


def test_a_model_whose_first_axis_counts_no_rows_gets_each_request_by_itself(file: Path) -> None:
    nodes = [NODE("ReduceSum", ["x"], ["total"], keepdims=0)]
    model = Model.load(save(file, nodes, [tensor("x", ["length"])], [tensor("total", [])]))
    assert model.batch == NO_BATCH
    assert model.run({"x": floats(5)})["total"] == 10


def test_a_scalar_input_has_no_batch_axis(file: Path) -> None:
    model = Model.load(save(file, [NODE("Neg", ["x"], ["y"])], [tensor("x", [])], [tensor("y", [])]))
    assert model.batch == NO_BATCH
    assert model.run({"x": np.array(3, np.float32)})["y"] == -3


def test_a_second_free_axis_takes_any_length(file: Path) -> None:
    nodes = [NODE("ReduceSum", ["x", "axis"], ["total"], keepdims=0)]
    path = save(file, nodes, [tensor("x", ["n", "length"])], [tensor("total", ["n"])], axis=np.array([1]))
    model = Model.load(path)
    assert (model.batch, model.inputs[0].shape) == (ANY, (ANY, ANY))
    for length in (1, 2, 7):
        np.testing.assert_array_equal(model.run({"x": floats(3, length)})["total"], floats(3, length).sum(axis=1))


def test_strings_go_in_and_come_out(file: Path) -> None:
    nodes = [
        NODE("LabelEncoder", ["word"], ["number"], domain="ai.onnx.ml", keys_strings=["a", "b"], values_int64s=[1, 2]),
        NODE("LabelEncoder", ["number"], ["name"], domain="ai.onnx.ml", keys_int64s=[1, 2], values_strings=["A", "B"]),
    ]
    kind = TensorProto.STRING
    model = Model.load(save(file, nodes, [tensor("word", [None], kind)], [tensor("name", [None], kind)]))
    outputs = model.run({"word": np.array(["b", "a", "b"], object)})
    assert outputs["name"].tolist() == ["B", "A", "B"]


# Values that a model refuses


def picky(path: Path) -> str:
    """Reads digits, and looks up the top left pixel in a table of ten: 10 and above are beyond it."""
    model = onnx.load(MLP)
    model.graph.output.pop()
    model.graph.output.append(tensor("checked", [None, 10]))
    model.graph.node.extend(
        [
            NODE("Slice", ["features", "from", "to", "axis"], ["corner"]),
            NODE("Cast", ["corner"], ["index"], to=TensorProto.INT64),
            NODE("Gather", ["table", "index"], ["found"]),
            NODE("Add", ["probabilities", "found"], ["checked"]),
        ]
    )
    constants = {"from": np.array([0]), "to": np.array([1]), "axis": np.array([1]), "table": np.zeros(10, np.float32)}
    model.graph.initializer.extend(onnx.numpy_helper.from_array(value, name) for name, value in constants.items())
    onnx.save(model, path)
    return str(path)


def test_values_that_the_model_refuses_are_a_problem_of_the_request(file: Path) -> None:
    model = Model.load(picky(file))
    with pytest.raises(Problem) as refused:
        model.run({"features": np.full((1, 64), 12, np.float32)})
    assert refused.value.status_code == 422


def test_a_request_that_the_model_refuses_fails_alone_in_its_batch(file: Path) -> None:
    good, bad = {"pixels": SEVEN_PIXELS}, {"pixels": [12.0, *SEVEN_PIXELS[1:]]}
    with serving(model_uri=picky(file)) as server:
        responses = server.read_all([bad if number % 5 == 0 else good for number in range(200)])
        batches = server.metric("batch_rows_count")
        for number, response in enumerate(responses):
            if number % 5 == 0:
                assert response.status_code == 422, response.text
                assert "cannot process this input" in response.json()["detail"]
            else:
                assert response.json()["digit"] == 7
        assert batches < 200, "no two requests shared a batch: this test has shown nothing"


# Threads


def test_an_inference_has_as_many_threads_as_the_process_has_cores() -> None:
    """Asked of a process that is bound to one core; how cores are counted is in test_quota.py."""
    code = f"from common.model import Model; print(Model.load({str(MLP)!r}).threads)"
    core = str(min(os.sched_getaffinity(0)))
    assert output_of("taskset", "--cpu-list", core, sys.executable, "-c", code) == "1"


def test_model_threads_overrides_the_quota() -> None:
    assert Model.load(str(MLP), threads=3).threads == 3
