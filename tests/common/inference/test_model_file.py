"""A model's file: found by path or URL and checked by its hash; what is no model ends the process with one line."""

import hashlib
import socket
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from threading import Event
from time import sleep
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from common.inference.model import Model
from common.inference.tensor_spec import ANY
from tests.support.models.onnx_models import save, tensor
from tests.support.processes import free_port, wait_until
from tests.support.samples import MLP
from tests.support.service_process import ends_at_once, is_ready, starting, web_folder, web_server

NODE = helper.make_node


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "model.onnx"


# Where it comes from


@pytest.mark.parametrize("source", ["path", "file-url", "url"])
def test_model_with_the_expected_hash_is_loaded_and_its_version_comes_from_the_hash(source: str) -> None:
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


def test_server_is_not_ready_before_its_model_is_loaded() -> None:
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


# A file that cannot be served


NOT_MODELS: dict[str, bytes] = {
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
        for name, content in NOT_MODELS.items()
    ],
)
def test_file_that_is_not_a_model_ends_the_process_with_one_line(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    line = ends_at_once(model_uri=file)
    assert "is no ONNX model that can be run" in line
    assert "export it again" in line


URLS = ["http://127.0.0.1:{closed}/mlp.onnx", "{web}/missing.onnx", "http://"]


@pytest.mark.parametrize("uri", ["missing.onnx", *[pytest.param(uri, marks=pytest.mark.full) for uri in URLS]])
def test_missing_model_ends_the_process_with_one_line(tmp_path: Path, uri: str) -> None:
    with web_folder(tmp_path) as web:
        uri = uri.format(closed=free_port(), web=web)
        line = ends_at_once(model_uri=uri)
    assert f"no model at {uri}" in line
    assert "set MODEL_URI to" in line


@pytest.mark.parametrize("where", ["body", "headers"])
def test_a_model_server_that_sends_a_byte_now_and_then_ends_the_process_after_the_timeout(where: str) -> None:
    class Drip(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            if where == "body":
                self.end_headers()
            self.flush_headers()
            with suppress(OSError):
                for _ in range(100):
                    self.wfile.write(b"X")
                    sleep(0.1)

    with web_server(Drip) as web:
        line = ends_at_once(model_uri=f"{web}/mlp.onnx", model_download_timeout_seconds=0.5)
    assert "it took longer than MODEL_DOWNLOAD_TIMEOUT_SECONDS" in line


@pytest.mark.full
def test_a_folder_in_place_of_a_model_ends_the_process_with_one_line(tmp_path: Path) -> None:
    assert "set MODEL_URI to" in ends_at_once(model_uri=tmp_path)


def test_a_web_page_in_place_of_a_model_ends_the_process_with_one_line(tmp_path: Path) -> None:
    (tmp_path / "mlp.onnx").write_bytes(NOT_MODELS["html"])
    with web_folder(tmp_path) as web:
        assert "is no ONNX model that can be run" in ends_at_once(model_uri=f"{web}/mlp.onnx")


@pytest.mark.full
def test_model_server_that_does_not_answer_ends_the_process_after_the_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}/mlp.onnx"
        line = ends_at_once(model_uri=uri, model_download_timeout_seconds=0.2)
    assert "it took longer than MODEL_DOWNLOAD_TIMEOUT_SECONDS" in line


@pytest.mark.parametrize("source", ["path", pytest.param("url", marks=pytest.mark.full)])
def test_model_with_another_hash_ends_the_process_with_one_line(source: str) -> None:
    with web_folder(MLP.parent) as web:
        line = ends_at_once(model_uri=MLP if source == "path" else f"{web}/mlp.onnx", model_sha256="0" * 64)
    assert f"MODEL_SHA256 is {'0' * 64}" in line
    assert hashlib.sha256(MLP.read_bytes()).hexdigest() in line


@pytest.mark.full
def test_an_input_that_is_no_tensor_ends_the_process_with_one_line(file: Path) -> None:
    sequence = helper.make_tensor_sequence_value_info("x", TensorProto.FLOAT, [None])
    save(file, [NODE("ConcatFromSequence", ["x"], ["y"], axis=0)], [sequence], [tensor("y", [None])])
    line = ends_at_once(model_uri=file)
    assert "the model's input x is a seq(tensor(float))" in line
    assert "export it with" in line


@pytest.mark.full
def test_an_output_that_is_no_tensor_ends_the_process_with_one_line(file: Path) -> None:
    sequence = helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, [None])
    save(file, [NODE("SplitToSequence", ["x"], ["y"], axis=0)], [tensor("x", [None])], [sequence])
    assert "the model's output y is a seq(tensor(float))" in ends_at_once(model_uri=file)
