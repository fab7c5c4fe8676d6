"""What is done to one chunk: read it, predict, write it; the same function in a process pool, on Dask and on Spark.

A chunk is written under another name and appears under its own by a rename, whole or not at all. It fails by itself:
what went wrong is in its result, and never raised.
"""

import os
import time
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from batch.dataset.columns import ITEMS, Rows, input_columns, read_rows
from batch.dataset.dataset import REJECTED, Chunk, open_file, part_file
from common import domain
from common.inference.model import Model
from common.inference.model_file import ModelError, ModelFile
from common.inference.tensor_spec import Tensors
from common.prediction.domain_model import DomainModel
from common.prediction.payload import EXAMPLE_ROWS
from common.service.problems import Problem

BATCH_ROWS = 8_192
"""Rows of one inference: enough to make its overhead small, few enough to stay in the CPU's cache."""


@dataclass(frozen=True, slots=True)
class Task:
    """A chunk, and how it is done; all of it can be sent to another machine that sees the same folders."""

    chunk: Chunk
    output: str
    model_uri: str
    model_sha256: str
    max_rejected: int
    threads: int = 1
    trial: bool = False
    """Nobody gets its answers; instead its result tells how far data and scores have moved."""

    @property
    def file(self) -> Path:
        """Where its answers appear."""
        return part_file(Path(self.output), self.chunk)


@dataclass(slots=True)
class Result:
    """What came of a chunk. The sums over its good rows are those of a trial."""

    name: str
    rows: int = 0
    rejected: int = 0
    seconds: float = 0.0
    error: str | None = None
    confidence_sum: float = 0.0
    feature_sums: list[float] = field(default_factory=list)


def do_chunk(task: Task) -> Result:
    """Do it; whatever goes wrong is told in the result."""
    started = time.monotonic()
    result = Result(task.chunk.name)
    temporary = task.file.with_name(f".{task.file.name}.{os.getpid()}")
    try:
        _predict(task, result, temporary)
        if not task.trial:
            _sync(temporary)
            temporary.rename(task.file)
    except Problem as problem:
        result.error = f"{task.chunk.file}: {problem.detail}"
    except (OSError, ValueError, pa.ArrowException) as error:
        result.error = f"{task.chunk.file}: {error}"
    except Exception as error:
        result.error = f"{task.chunk.file}: {type(error).__name__}: {error}"
    finally:
        temporary.unlink(missing_ok=True)
    result.seconds = time.monotonic() - started
    return result


def _predict(task: Task, result: Result, temporary: Path) -> None:
    model = _model(task.model_uri, task.model_sha256, task.threads)
    with open_file(task.chunk.file) as source:
        schema = source.schema_arrow
        columns = input_columns(schema)
        answers = pa.schema(
            [
                pa.field("id", schema.field("id").type),
                *model.fields,
                pa.field("model_version", pa.string()),
            ]
        )
        rejected: list[tuple[pa.Array, list[str]]] = []
        groups = list(task.chunk.row_groups)
        with pq.ParquetWriter(temporary, answers) as writer:
            for batch in source.iter_batches(BATCH_ROWS, groups, columns=["id", *columns], use_threads=False):
                rows = read_rows(batch, columns)
                if rows.reasons:
                    result.rejected += len(rows.reasons)
                    rejected.append((rows.rejected_ids, rows.reasons))
                    if result.rejected > task.max_rejected:
                        raise ValueError(
                            f"over {task.max_rejected} rows are no {ITEMS}; the latest: {rows.reasons[-1]}"
                        )
                if len(rows.ids):
                    writer.write_batch(_answer(model, rows, answers, result, task.trial))
    if rejected and not task.trial:
        _set_aside(task, rejected)


def _answer(model: "_Loaded", rows: Rows, schema: pa.Schema, result: Result, trial: bool) -> pa.RecordBatch:
    columns = model.predict(rows.inputs)
    result.rows += len(rows.ids)
    if trial:
        confidence = columns.get("confidence")
        result.confidence_sum += 0.0 if confidence is None else float(confidence.sum(dtype=np.float64))
        sums = np.concatenate([values.sum(axis=0, dtype=np.float64).ravel() for values in rows.inputs.values()])
        result.feature_sums = (sums + (result.feature_sums or 0)).tolist()
    version = pa.repeat(pa.scalar(model.version), len(rows.ids))
    return pa.RecordBatch.from_arrays([rows.ids, *map(pa.array, columns.values()), version], schema=schema)


def _set_aside(task: Task, rejected: list[tuple[pa.Array, list[str]]]) -> None:
    """The rows that are no pictures, beside the answers: `id` and `reason`."""
    folder = Path(task.output) / REJECTED
    folder.mkdir(exist_ok=True)
    ids = pa.concat_arrays([one for one, _ in rejected])
    table = pa.table({"id": ids, "reason": [reason for _, reasons in rejected for reason in reasons]})
    temporary = folder / f".{task.file.name}.{os.getpid()}"
    pq.write_table(table, temporary)
    temporary.rename(folder / task.file.name)


def _sync(file: Path) -> None:
    """A rename must not be on disk before what it names."""
    with file.open("rb") as opened:
        os.fsync(opened.fileno())


class _Loaded:
    """The model, and the columns that it gives."""

    def __init__(self, model: Model) -> None:
        self._model, self._domain_model = model, DomainModel(model)
        if self._domain_model.misfit:
            raise ModelError(self._domain_model.misfit)
        self.version = model.version
        example = self.predict(EXAMPLE_ROWS)
        self.fields = [pa.field(name, pa.array(values).type) for name, values in example.items()]

    def predict(self, rows: Tensors) -> Tensors:
        """The domain's columns for these rows."""
        outputs = self._model.run(self._domain_model.to_inputs(rows))
        return domain.to_columns(self._domain_model.to_tensors(outputs))


def check_model(file: ModelFile) -> None:
    """Raises `ModelError` if the model cannot be served, or does not fit the domain."""
    _Loaded(Model(file))


@cache
def _model(uri: str, sha256: str, threads: int) -> _Loaded:
    """Loaded once in a process."""
    return _Loaded(Model.load(uri, sha256, threads=threads))
