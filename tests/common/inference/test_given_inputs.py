"""WARM_UP: inputs that are given replace the guess, and what does not fit is one line."""

from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from common.inference.model import Model
from common.inference.model_file import ModelError
from tests.support.models import foreign_models as kinds
from tests.support.models.onnx_models import save, tensor


@pytest.mark.parametrize("suffix", ["json", "npz"])
def test_warm_up_replaces_the_guess(tmp_path: Path, suffix: str) -> None:
    file, rows = tmp_path / f"inputs.{suffix}", [1_000, 1_001, 1_002]
    if suffix == "json":
        file.write_text(f'{{"i": {rows}}}')
    else:
        np.savez(file, i=np.array(rows))
    model = Model.load(kinds.never_guessed(tmp_path / "model.onnx"), warm_up_file=file)
    assert (model.is_warmed_up, model.batching) == (True, "exact")


@pytest.mark.parametrize("text", ["", "[1]", "null", "{}", '{"i": ["a"]}', '{"i": [[1]]}', 100_000 * "["])
def test_a_warm_up_file_without_the_inputs_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "inputs.json").write_text(text)
    with pytest.raises(ModelError, match="WARM_UP="):
        Model.load(kinds.never_guessed(tmp_path / "model.onnx"), warm_up_file=tmp_path / "inputs.json")


WRONG_INPUTS = {
    "float32": ("[[1e50, 0, 0, 0]]", "overflow"),
    "int64": ("[[1.5, 0, 0, 0]]", "expected whole numbers that fit int64"),
    "int32": ("[[true, false, true, true]]", "expected whole numbers that fit int32"),
    "uint8": ("[[300, 0, 0, 0]]", "expected whole numbers that fit uint8"),
    "bool": ("[[2, 0, 1, 1]]", "expected booleans"),
    "float64": ('[["1", "2", "3", "4"]]', "expected numbers that fit float64"),
    "object": ('[[1, null, "a", "b"]]', "expected strings"),
}


@pytest.mark.parametrize("end", [0, 30, -20])
def test_a_damaged_warm_up_file_is_one_line(tmp_path: Path, end: int) -> None:
    file = tmp_path / "inputs.npz"
    np.savez(file, i=np.array([1_000, 1_001]))
    file.write_bytes(file.read_bytes()[:end])
    with pytest.raises(ModelError, match=r"WARM_UP=.* holds no inputs"):
        Model.load(kinds.never_guessed(tmp_path / "model.onnx"), warm_up_file=file)


def test_warm_up_takes_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "inputs.json").write_text('{"i": [1000, 1001]}', encoding="utf-8-sig")
    model = Model.load(kinds.never_guessed(tmp_path / "model.onnx"), warm_up_file=tmp_path / "inputs.json")
    assert model.batching == "exact"


@pytest.mark.parametrize("dtype", WRONG_INPUTS)
def test_a_warm_up_value_that_its_input_cannot_hold_is_one_line(tmp_path: Path, dtype: str) -> None:
    text, message = WRONG_INPUTS[dtype]
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    inputs, outputs = [tensor("x", ["n", 4], kind)], [tensor("y", ["n", 4], kind)]
    uri = save(tmp_path / "model.onnx", [kinds.NODE("Identity", ["x"], ["y"])], inputs, outputs)
    (tmp_path / "inputs.json").write_text(f'{{"x": {text}}}')
    with pytest.raises(ModelError, match=f"WARM_UP=.*{message}"):
        Model.load(uri, warm_up_file=tmp_path / "inputs.json")


def test_warm_up_rows_that_do_not_differ_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "inputs.json").write_text('{"i": [1000, 1000]}')
    model = Model.load(kinds.never_guessed(tmp_path / "model.onnx"), warm_up_file=tmp_path / "inputs.json")
    assert model.batching == "off"
    assert "the rows of WARM_UP get one and the same answer" in caplog.messages[-1]
