"""Engine `spark`: the same chunk function through the pandas API on Spark, on workers that see the same folders.

The chunks are a pandas-on-Spark frame, one row and one partition each, and `apply_batch` does them. Results come back
at the end, so progress is told from the parts that appear.
"""

import base64
import pickle
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pyspark.pandas as ps
from pyspark.sql import SparkSession

from batch.dataset.dataset import REJECTED
from batch.process_chunk import Result, Task, do_chunk

LOOK_SECONDS = 0.2


def run(tasks: Sequence[Task], master: str) -> Iterator[Result]:
    """Do all, and give each result as soon as it is there; to close this iterator calls off the rest."""
    with _session(master) as spark:
        yield from _run(spark, tasks)


@contextmanager
def _session(master: str) -> Iterator[SparkSession]:
    """Spark, which ends with the job; a job that is cancelled while it starts waits, since half of it cannot be ended.

    It starts in a thread: in the main one it would catch SIGINT from then on, and it knows nothing of a run.
    """
    with ThreadPoolExecutor(1) as thread:
        starting = thread.submit(_started, master)
        try:
            yield starting.result()
        finally:
            starting.result().stop()


def _started(master: str) -> SparkSession:
    spark = (
        SparkSession.builder.master(master)
        .appName("batch")
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.sql.execution.arrow.pyspark.enabled", "true")
        .getOrCreate()
    )
    spark.sparkContext.setLogLevel("ERROR")
    return spark


def _run(spark: SparkSession, tasks: Sequence[Task]) -> Iterator[Result]:
    outcome: SimpleQueue[Any] = SimpleQueue()
    thread = threading.Thread(target=lambda: outcome.put(_collect(spark, tasks)), daemon=True)
    thread.start()
    waiting = {task.chunk.name: task for task in tasks}
    while True:
        try:
            results = outcome.get(timeout=LOOK_SECONDS)
            break
        except Empty:
            for name in [name for name, task in waiting.items() if not task.trial and task.file.exists()]:
                yield _told_by_files(waiting.pop(name))
    if isinstance(results, Exception):
        error = str(results).partition("\n")[0]
        yield from [Result(name, error=f"Spark gave up: {error}") for name in waiting]
        return
    yield from [result for result in results if result.name in waiting]


def _told_by_files(task: Task) -> Result:
    """The result of a chunk whose part is there; rows that were set aside are there before it."""
    aside = task.file.parent / REJECTED / task.file.name
    rejected = pq.read_metadata(aside).num_rows if aside.exists() else 0
    return Result(task.chunk.name, rows=task.chunk.rows - rejected, rejected=rejected)


def _collect(spark: SparkSession, tasks: Sequence[Task]) -> list[Result] | Exception:
    try:
        rows = [(number, _packed(task)) for number, task in enumerate(tasks)]
        frame = spark.sparkContext.parallelize(rows, len(rows)).toDF("number long, task string").pandas_api()
        done = frame.pandas_on_spark.apply_batch(_do_batch)
        return [_unpacked(result) for result in done["result"].to_numpy()]
    except Exception as error:
        return error


def _do_batch(frame: pd.DataFrame) -> ps.DataFrame["result":str]:  # type: ignore[valid-type]  # noqa: F821
    done: ps.DataFrame[Any] = pd.DataFrame({"result": [_packed(do_chunk(_unpacked(task))) for task in frame["task"]]})
    return done


def _packed(value: object) -> str:
    """Frames hold text better than objects."""
    return base64.b85encode(pickle.dumps(value)).decode()


def _unpacked(text: str) -> Any:
    return pickle.loads(base64.b85decode(text))
