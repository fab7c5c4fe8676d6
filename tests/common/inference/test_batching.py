"""Which models share runs: proved at start by running them; the rest runs request by request, and says so."""

import asyncio
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic

import numpy as np
import pytest
from onnx import TensorProto

from common.inference.model import Model
from common.inference.predictor import Predictor
from common.inference.settings import ModelSettings
from common.inference.tensor_spec import Tensors
from common.jobs.job_predictor import JobContext
from common.telemetry.metrics import ServiceMetrics
from tests.support.models import foreign_models as kinds, mixing_models as mixing
from tests.support.models.onnx_models import save, tensor
from tests.support.open_inference.tensors import by_onnxruntime
from tests.support.processes import output_of
from tests.support.samples import MLP


def predict_all(model: Model, requests: list[Tensors], rows: int) -> list[Tensors]:
    """The answers to requests that arrive together."""

    async def scenario() -> list[Tensors]:
        predictor = Predictor(model, ModelSettings(), ServiceMetrics())
        context = JobContext(monotonic() + 60)
        return await asyncio.gather(*(predictor.predict(request, rows, context) for request in requests))

    return asyncio.run(scenario())


def same(got: Tensors, expected: Tensors) -> None:
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        assert got[name].shape == value.shape
        assert got[name].dtype == value.dtype
        np.testing.assert_array_equal(got[name], value)


MIXING = [
    mixing.time_major_lstm,
    mixing.dynamically_quantized,
    mixing.centred,
    mixing.hidden_by_large_values,
    mixing.finely_quantized,
    mixing.doubled_by_one_large_value,
]


@pytest.mark.parametrize("build", MIXING)
def test_requests_to_a_model_that_mixes_rows_never_share_a_run(
    tmp_path: Path, build: Callable[[Path], str], caplog: pytest.LogCaptureFixture
) -> None:
    uri = build(tmp_path / "model.onnx")
    with caplog.at_level(logging.WARNING):
        model = Model.load(uri)
    assert model.batching == "off"
    assert len(caplog.messages) == 1
    assert "runs request by request: " in caplog.messages[0]
    random = np.random.default_rng(0)
    shape = [2 if length == -1 else length for length in model.inputs[0].shape]
    requests = [{"x": (n * random.normal(size=shape)).astype(np.float32)} for n in range(1, 9)]
    for got, request in zip(predict_all(model, requests, 2), requests, strict=True):
        same(got, by_onnxruntime(uri, request))


@pytest.mark.parametrize("build", [mixing.decided_by_all_rows, mixing.decided_by_its_shape])
def test_a_graph_with_an_if_shares_runs_only_once_rows_of_warm_up_have_shown_that_it_can(
    tmp_path: Path, build: Callable[[Path], str], caplog: pytest.LogCaptureFixture
) -> None:
    uri = build(tmp_path / "model.onnx")
    assert Model.load(uri).batching == "off"
    assert "its Loop or If may go on until all rows are done" in caplog.messages[-1]
    (tmp_path / "rows.json").write_text('{"x": [[0.1, 0.2], [3, -3], [9, 9], [0.2, 0.1]]}')
    proved = Model.load(uri, warm_up_file=tmp_path / "rows.json").batching
    assert proved == ("off" if build is mixing.decided_by_all_rows else "exact")
    assert Model.load(uri, batching="on").batching == "trusted"


def test_a_small_table_beside_numbers_shares_runs(tmp_path: Path) -> None:
    """Guessed indices beyond it are left away, whichever input comes first."""
    for inputs in (["a", "i"], ["i", "a"]):
        nodes = [kinds.NODE("Gather", ["table", "i"], ["row"]), kinds.NODE("Add", ["a", "row"], ["y"])]
        specs = {"a": tensor("a", ["n", 2]), "i": tensor("i", ["n"], TensorProto.INT64)}
        for rows in (2, 3):
            table = kinds.weights(rows, 2)
            given = [specs[name] for name in inputs]
            uri = save(tmp_path / "model.onnx", nodes, given, [tensor("y", ["n", 2])], table=table)
            assert Model.load(uri).batching == "exact"


def test_a_model_that_gives_all_rows_one_answer_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    nodes = [kinds.NODE("Gather", ["table", "i"], ["y"])]
    inputs, outputs = [tensor("i", ["n"], TensorProto.INT64)], [tensor("y", ["n", 2])]
    model = Model.load(save(tmp_path / "model.onnx", nodes, inputs, outputs, table=kinds.weights(1, 2)))
    assert model.batching == "off"
    assert caplog.messages[-1].endswith("all rows that could be guessed get one and the same answer")


def test_a_number_that_is_a_length_takes_little_memory_at_start(tmp_path: Path) -> None:
    uri = kinds.as_long_as_its_largest(tmp_path / "model.onnx")
    code = f"from common.inference.model import Model; print(Model.load({uri!r}).batching)"
    code += "; print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"
    batching, kilobytes = output_of(sys.executable, "-c", code).split()
    assert batching == "exact"
    assert int(kilobytes) < 500_000


def test_a_model_that_counts_its_rows_never_shares_a_run(tmp_path: Path) -> None:
    uri = mixing.doubled_among_many(tmp_path / "model.onnx")
    requests = [{"x": np.full((1, 4), n, np.float32)} for n in range(30)]
    for got, request in zip(predict_all(Model.load(uri), requests, 1), requests, strict=True):
        same(got, by_onnxruntime(uri, request))


UNEQUAL: dict[Callable[[Path], str], Tensors] = {
    mixing.doubled_by_one_huge_value: {"x": np.full((1, 4), 2e5, np.float32)},
    mixing.doubled_by_one_huge_integer: {"x": np.full((1, 4), 2 * 10**7)},
    mixing.emptied_by_nan: {"x": np.full((1, 4), np.nan, np.float32)},
}


@pytest.mark.parametrize("build", UNEQUAL)
def test_an_extreme_value_changes_no_request_beside_it(tmp_path: Path, build: Callable[[Path], str]) -> None:
    uri, extreme = build(tmp_path / "model.onnx"), UNEQUAL[build]
    usual = {"x": np.arange(4, dtype=extreme["x"].dtype).reshape(1, 4)}
    requests = [usual, extreme, usual]
    for got, request in zip(predict_all(Model.load(uri), requests, 1), requests, strict=True):
        same(got, by_onnxruntime(uri, request))


@pytest.mark.parametrize("build", [kinds.independent, kinds.labelled_strings, kinds.table_of_three])
def test_rows_that_do_not_depend_on_each_other_share_runs(tmp_path: Path, build: Callable[[Path], str]) -> None:
    assert Model.load(build(tmp_path / "model.onnx")).batching == "exact"


@pytest.mark.parametrize("rows", [1, 5, 100])
@pytest.mark.parametrize("name", ["linear", "mlp", "quality", "specialist", "svm"])
def test_requests_that_arrive_together_get_what_onnxruntime_gives_each_alone_bit_for_bit(name: str, rows: int) -> None:
    """How many rows run changes the last bits of `linear` and `svm`: their requests share no runs, jobs do."""
    uri = str(MLP.with_name(f"{name}.onnx"))
    model = Model.load(uri)
    assert model.rows_are_independent
    (features,) = model.inputs
    random = np.random.default_rng(0)
    requests = [{features.name: random.uniform(0, 16, (rows, 64)).astype(np.float32)} for _ in range(8)]
    for got, request in zip(predict_all(model, requests, rows), requests, strict=True):
        same(got, by_onnxruntime(uri, request))


def test_a_model_whose_last_bits_depend_on_the_number_of_rows_runs_request_by_request(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    uri = mixing.rounded_with_others(tmp_path / "model.onnx")
    with caplog.at_level(logging.INFO):
        model = Model.load(uri)
    assert (model.batching, model.rows_are_independent) == ("off", True)
    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert "the last bits of a row's answer depend on how many rows run" in caplog.messages[0]
    requests = [{"x": kinds.weights(1, 4) * n} for n in range(1, 9)]
    for got, request in zip(predict_all(model, requests, 1), requests, strict=True):
        same(got, by_onnxruntime(uri, request))


UNUSUAL: dict[Callable[[Path], str], Tensors] = {
    kinds.shortened: {"x": kinds.weights(3, 8, 8)},
    kinds.text_recogniser: {"x": kinds.weights(1, 3, 8, 40)},
    kinds.padded_speech: {"x": kinds.weights(2, 1000)},
    kinds.detector: {"x": kinds.weights(1, 1, 64, 96)},
    kinds.scalar_output: {"x": kinds.weights(5)},
    kinds.expanded: {"x": kinds.weights(1, 3), "shape": np.array([4, 3])},
    kinds.without_inputs: {},
}


@pytest.mark.parametrize("build", UNUSUAL)
def test_every_output_comes_back_as_onnxruntime_gives_it(tmp_path: Path, build: Callable[[Path], str]) -> None:
    uri, inputs = build(tmp_path / "model.onnx"), UNUSUAL[build]
    model = Model.load(uri)
    assert model.is_warmed_up
    for got in predict_all(model, [inputs] * 3, 1):
        same(got, by_onnxruntime(uri, inputs))


def test_a_model_with_a_minimum_length_is_batched_once_a_length_ran(tmp_path: Path) -> None:
    assert Model.load(kinds.padded_speech(tmp_path / "model.onnx")).is_batched
    assert Model.load(kinds.detector(tmp_path / "model.onnx")).is_batched
    assert Model.load(kinds.long_kernel(tmp_path / "model.onnx")).is_batched


def test_a_model_for_which_no_guess_runs_is_served_request_by_request(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("WARNING")  # a service of another test in this process may have set its own
    uri = kinds.never_guessed(tmp_path / "model.onnx")
    model = Model.load(uri)
    assert (model.is_warmed_up, model.is_batched) == (False, False)
    assert len(caplog.messages) == 1
    assert "is not warmed up" in caplog.messages[0]
    same(model.run({"i": np.array([1_001])}), by_onnxruntime(uri, {"i": np.array([1_001])}))


def test_batching_overrides_the_proof_either_way(tmp_path: Path) -> None:
    assert Model.load(str(MLP), batching="off").batching == "off"
    assert Model.load(mixing.centred(tmp_path / "model.onnx"), batching="on").batching == "trusted"


UNTRUSTED: dict[Callable[[Path], str], Tensors] = {
    kinds.scalar_output: {"x": kinds.weights(3)},
    kinds.with_a_table: {"x": kinds.weights(3, 4)},
}


@pytest.mark.parametrize("build", UNTRUSTED)
@pytest.mark.parametrize("size", [1, 2, 8])
def test_outputs_without_a_row_for_each_are_never_shortened_even_if_batching_is_on(
    tmp_path: Path, build: Callable[[Path], str], size: int, caplog: pytest.LogCaptureFixture
) -> None:
    uri, inputs = build(tmp_path / "model.onnx"), UNTRUSTED[build]
    model = Model.load(uri, batching="on")
    assert model.batching == "off"
    assert "BATCHING=on, but " in caplog.messages[-1]
    requests = [{"x": inputs["x"] * n} for n in range(size)]
    for got, request in zip(predict_all(model, requests, 3), requests, strict=True):
        same(got, by_onnxruntime(uri, request))


def test_a_model_that_is_not_proved_in_time_is_not_batched() -> None:
    model = Model.load(str(MLP), warm_up_seconds=1e-9)
    assert (model.batching, model.is_warmed_up) == ("off", True)


LARGE: dict[Callable[[Path], str], list[Tensors]] = {
    kinds.many_lengths: [{"x": kinds.weights(1, length, 64)} for length in (1, 60_000)],
    kinds.filled: [{"shape": np.array([length, 2_000])} for length in (1, 2_000)],
    kinds.counted: [{"n": np.array(number, np.float32)} for number in (1, 4e6)],
}
"""A request that a quick model answers at once, and one that takes it long."""


@pytest.mark.parametrize("build", LARGE)
def test_a_large_request_to_a_quick_model_leaves_the_event_loop_free(
    tmp_path: Path, build: Callable[[Path], str]
) -> None:
    model = Model.load(build(tmp_path / "model.onnx"), threads=1)
    first, second = LARGE[build]

    async def scenario() -> float:
        predictor, context = Predictor(model, ModelSettings(), ServiceMetrics()), JobContext(monotonic() + 60)
        await predictor.predict(first, 1, context)
        large = asyncio.create_task(predictor.predict(second, 1, context))
        longest = 0.0
        while not large.done():
            before = monotonic()
            await asyncio.sleep(0)
            longest = max(longest, monotonic() - before)
        assert large.exception() is None
        return longest / context.timings["predict"]

    assert min(asyncio.run(scenario()) for _ in range(3)) < 0.5


def test_more_rows_than_a_batch_are_split() -> None:
    model = Model.load(str(MLP))
    rows = np.random.default_rng(0).integers(0, 16, (150, 64)).astype(np.float32)
    (got,) = predict_all(model, [{"features": rows}], 150)
    same(got, by_onnxruntime(str(MLP), {"features": rows}))


def test_a_graph_whose_fixed_axis_is_long_takes_it_as_it_is(tmp_path: Path) -> None:
    nodes, shape = [kinds.NODE("Neg", ["x"], ["y"])], [tensor("x", [10_000]), tensor("y", [10_000])]
    model = Model.load(save(tmp_path / "model.onnx", nodes, shape[:1], shape[1:]))
    (got,) = predict_all(model, [{"x": kinds.weights(10_000)}], 1)
    same(got, {"y": -kinds.weights(10_000)})
