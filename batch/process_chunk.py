"""Processes one chunk: reads, predicts, writes. The same function runs in a process pool, on Dask and on Spark.

The part is written under a temporary name and then renamed, so it appears complete or not at all. An error is returned
in the result and never raised: other chunks are not affected.
"""

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from batch.chunk_model import ChunkModel, load_chunk_model
from batch.dataset.changes import FileChanged, open_planned
from batch.dataset.column_types import id_type, input_columns
from batch.dataset.columns import Rows, read_batches
from batch.dataset.dataset import REJECTED, Chunk, part_file
from batch.output.durable import make_folder, publish
from common.inference.model_file import ModelError
from common.service.masking import mask_urls

BATCH_ROWS = 8_192
"""Rows of one inference: enough for a small overhead, few enough for the CPU's cache."""


@dataclass(frozen=True, slots=True)
class Task:
    """A chunk and how to process it. It can be sent to another machine that has the same folders."""

    chunk: Chunk
    output: str
    model_uri: str
    model_sha256: str
    max_rejected: int
    download_seconds: float
    batching: str
    columns: dict[str, str] = field(default_factory=dict)
    """The columns that have another name in the file."""
    trial: bool = False
    """Nothing is published; the result carries the sums for the drift report."""

    @property
    def file(self) -> Path:
        """The part that is written."""
        return part_file(Path(self.output), self.chunk)


@dataclass(slots=True)
class Result:
    """The outcome of a chunk. The sums over its accepted rows are filled in a trial only."""

    name: str
    rows: int = 0
    rejected: int = 0
    seconds: float = 0.0
    error: str | None = None
    workers: int = 1
    """Chunks that the engine processes at the same time, where it says so."""
    confidence_sum: float = 0.0
    feature_sums: list[float] = field(default_factory=list)


def process_chunk(task: Task) -> Result:
    """Process a chunk; an error is in the result."""
    started = time.monotonic()
    result = Result(task.chunk.name)
    temporary = task.file.with_name(f".{task.file.name}.{os.getpid()}")
    try:
        _predict(task, result, temporary)
        if not task.trial:
            publish(temporary, task.file)
    except (OSError, ValueError, pa.ArrowException, FileChanged, ModelError) as error:
        result.error = mask_urls(f"{task.chunk.file}: {' '.join(str(error).split())}")
    except Exception as error:
        result.error = mask_urls(f"{task.chunk.file}: {type(error).__name__}: {' '.join(str(error).split())}")
    finally:
        temporary.unlink(missing_ok=True)
    result.seconds = time.monotonic() - started
    return result


def _predict(task: Task, result: Result, temporary: Path) -> None:
    """Write the predictions of the chunk to a temporary file, and its rejected rows beside the output; count both."""
    model = load_chunk_model(task.model_uri, task.model_sha256, task.download_seconds, task.batching)
    with open_planned(task.chunk) as source:
        schema = source.schema_arrow
        columns = input_columns(schema, task.columns)
        id_field, version = pa.field("id", id_type(schema, columns)), pa.field("model_version", pa.string())
        output_schema = pa.schema([id_field, *model.fields, version])
        rejected: list[tuple[pa.Array, list[str]]] = []
        with pq.ParquetWriter(temporary, output_schema) as writer:
            for rows in read_batches(source, task.chunk.row_groups, columns, BATCH_ROWS):
                if rows.reasons:
                    result.rejected += len(rows.reasons)
                    rejected.append((rows.rejected_ids, rows.reasons))
                    if result.rejected > task.max_rejected:
                        raise ValueError(f"over {task.max_rejected} rows were rejected; the latest: {rows.reasons[-1]}")
                if len(rows.ids):
                    writer.write_batch(_predict_rows(model, rows, output_schema, result, task.trial))
    if rejected and not task.trial:
        _write_rejected(task, rejected)


def _predict_rows(model: ChunkModel, rows: Rows, schema: pa.Schema, result: Result, trial: bool) -> pa.RecordBatch:
    """The rows of the output; a trial adds up confidence and features for the drift report."""
    columns = model.predict(rows.inputs)
    result.rows += len(rows.ids)
    if trial:
        confidence = columns.get("confidence")
        result.confidence_sum += 0.0 if confidence is None else float(confidence.sum(dtype=np.float64))
        sums = np.concatenate([values.sum(axis=0, dtype=np.float64).ravel() for values in rows.inputs.values()])
        result.feature_sums = (sums + (result.feature_sums or 0)).tolist()
    version = pa.repeat(pa.scalar(model.version), len(rows.ids))
    return pa.RecordBatch.from_arrays([rows.ids, *map(pa.array, columns.values()), version], schema=schema)


def _write_rejected(task: Task, rejected: list[tuple[pa.Array, list[str]]]) -> None:
    """Write `id` and `reason` of the rejected rows beside the results."""
    folder = Path(task.output) / REJECTED
    make_folder(folder)
    ids = pa.concat_arrays([some_ids for some_ids, _ in rejected])
    table = pa.table({"id": ids, "reason": [reason for _, reasons in rejected for reason in reasons]})
    temporary = folder / f".{task.file.name}.{os.getpid()}"
    pq.write_table(table, temporary)
    publish(temporary, folder / task.file.name)
