"""A password or a signature in `MODEL_URI` is never printed, however the download fails."""

from pathlib import Path

import pytest

from common.inference.model_file import ModelError, read_model_file
from tests.support.processes import free_port
from tests.support.service_process import ends_at_once, web_folder


@pytest.mark.parametrize("host", ["127.0.0.1:{closed}", pytest.param("{web}", marks=pytest.mark.full)])
def test_neither_a_password_nor_a_signature_of_model_uri_is_printed(tmp_path: Path, host: str) -> None:
    with web_folder(tmp_path) as web:
        address = host.format(closed=free_port(), web=web.removeprefix("http://"))
        line = ends_at_once(model_uri=f"http://me:sesame@{address}/mlp.onnx?signature=sesame")
    assert f"no model at http://***@{address}/mlp.onnx?***" in line
    assert "sesame" not in line


@pytest.mark.parametrize("uri", ["s3://KEY:sesame@bucket/mlp.onnx?token=sesame", "http:/me:sesame@host/mlp.onnx"])
def test_no_secret_of_what_is_taken_for_a_path_is_printed(uri: str) -> None:
    with pytest.raises(ModelError, match=r"no model at \w+:/\*\*\*@\w+/mlp.onnx") as caught:
        read_model_file(uri)
    assert "sesame" not in str(caught.value)


def test_a_password_with_a_slash_is_not_printed_as_a_wrong_port() -> None:
    with pytest.raises(ModelError, match=r"no model at http://\*\*\*@127.0.0.1:9/mlp.onnx") as caught:
        read_model_file("http://me:sesame/1@127.0.0.1:9/mlp.onnx")
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize(
    "uri",
    [
        "http://127.0.0.1:9/mlp.onnx?headers=host,date&signature=sesame",
        "http://127.0.0.1:9/mlp.onnx?name='sesame'",
        "bucket/mlp.onnx?signature=sesame",
    ],
)
def test_no_part_of_a_signed_query_is_printed(uri: str) -> None:
    with pytest.raises(ModelError, match=r"no model at [\w:/.]+/mlp.onnx\?\*\*\*") as caught:
        read_model_file(uri)
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize("password", ["se same", "a\nsesame", "a/b sesame", "se@ same"])
def test_a_password_with_spaces_is_not_printed(password: str) -> None:
    with pytest.raises(ModelError, match=r"no model at http://\*\*\*@127.0.0.1:9/mlp.onnx") as caught:
        read_model_file(f"http://me:{password}@127.0.0.1:9/mlp.onnx")
    assert "same" not in str(caught.value)


@pytest.mark.parametrize("start", ["http://127.0.0.1:9/", "bucket/"])
def test_no_parameter_of_the_path_is_printed(start: str) -> None:
    with pytest.raises(ModelError, match=rf"no model at {start}mlp.onnx;\*\*\* \(") as caught:
        read_model_file(f"{start}mlp.onnx;token=sesame")
    assert "sesame" not in str(caught.value)
