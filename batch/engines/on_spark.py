"""Engine `spark`: processes chunks through the pandas API on Spark, on workers that have the same folders.

The chunks are a pandas-on-Spark frame, one row and one partition each, processed by `apply_batch`. Spark returns all
results at the end, so progress is reported from the parts that appear.
"""

import base64
import os
import pickle
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from queue import Empty, SimpleQueue
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pyspark.pandas as ps
from pyspark.accumulators import AccumulatorTCPServer
from pyspark.sql import SparkSession

from batch.dataset.dataset import REJECTED
from batch.process_chunk import Result, Task, process_chunk

POLL_SECONDS = 0.2
CONNECT_SECONDS = 5
QUICK_START = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
"""Of Java, which only hands out the chunks: Python does the work. A job starts in two thirds of the CPU time."""
EXECUTOR_SECONDS = 45
"""A cluster without an executor is given up after so long: Spark itself would wait for ever."""


def run(tasks: Sequence[Task], master: str) -> Iterator[Result | None]:
    """Yield each result as soon as it is there, and None in between; closing it cancels the rest.

    Spark starts in a thread: in the main thread it would install a handler of SIGINT of its own, in place of the job's.
    Raises ConnectionError where no master listens, or no executor connects.
    """
    _require_master(master)
    with ThreadPoolExecutor(1) as thread:
        starting = thread.submit(_start_spark, master)
        try:
            while not starting.done():
                yield None
                wait([starting], POLL_SECONDS)
            yield from _run(starting.result(), tasks)
        finally:
            starting.result().stop()  # a half-started Spark cannot be stopped: waits until it has started


def _require_master(master: str) -> None:
    """At once: Spark itself would need a minute, and end with Java's words."""
    addresses = master.removeprefix("spark://").split(",") if master.startswith("spark://") else []
    for address in addresses:
        host, _, port = address.rpartition(":")
        try:
            with socket.create_connection((host, int(port)), CONNECT_SECONDS):
                return
        except (OSError, ValueError):
            continue
    if addresses:
        raise ConnectionError(f"SPARK_MASTER={master}: nothing listens there: does the master run?")


def _start_spark(master: str) -> SparkSession:
    for name in ("PYSPARK_PYTHON", "PYSPARK_DRIVER_PYTHON"):  # else Spark takes the python3 of the PATH
        os.environ.setdefault(name, sys.executable)
    # Else a traceback of Spark's own is printed where its Java ends before it, as it may at Ctrl-C.
    AccumulatorTCPServer.handle_error = lambda *_: None  # type: ignore[method-assign]
    spark = (
        SparkSession.builder.master(master)
        .appName("batch")
        .config("spark.driver.extraJavaOptions", QUICK_START)
        .config("spark.executor.extraJavaOptions", QUICK_START)
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.sql.execution.arrow.pyspark.enabled", "true")
        .getOrCreate()
    )
    spark.sparkContext.setLogLevel("ERROR")
    return spark


def _run(spark: SparkSession, tasks: Sequence[Task]) -> Iterator[Result | None]:
    outcome: SimpleQueue[Any] = SimpleQueue()
    thread = threading.Thread(target=lambda: outcome.put(_collect(spark, tasks)), daemon=True)
    thread.start()
    waiting = {task.chunk.name: task for task in tasks}
    began = time.monotonic()
    has_executors = False
    while True:
        try:
            results = outcome.get(timeout=POLL_SECONDS)
            break
        except Empty:
            yield None
            has_executors = has_executors or _has_executors(spark)
            if not has_executors and time.monotonic() > began + EXECUTOR_SECONDS:
                raise ConnectionError(
                    "Spark: no executor has connected: do the workers run, and do they reach the driver "
                    "(SPARK_LOCAL_HOSTNAME)?"
                ) from None
            for name in [name for name, task in waiting.items() if not task.trial and task.file.exists()]:
                yield _result_from_files(waiting.pop(name), time.monotonic() - began)
    if isinstance(results, Exception):
        error = str(results).partition("\n")[0]
        yield from [Result(name, error=f"Spark stopped: {error}") for name in waiting]
        return
    threads = spark.sparkContext.defaultParallelism
    yield from [replace(result, workers=threads) for result in results if result.name in waiting]


def _has_executors(spark: SparkSession) -> bool:
    """In `local` mode the driver is the executor; else there are others beside it."""
    context = spark.sparkContext
    return str(context.master).startswith("local") or len(context._jsc.sc().statusTracker().getExecutorInfos()) > 1


def _result_from_files(task: Task, seconds: float) -> Result:
    """The result of a chunk whose part exists; its rejected rows are written before it.

    How long it took, Spark says at the end: until then `seconds` is the time since the first one began.
    """
    rejected_file = task.file.parent / REJECTED / task.file.name
    rejected = pq.read_metadata(rejected_file).num_rows if rejected_file.exists() else 0
    return Result(task.chunk.name, rows=task.chunk.rows - rejected, rejected=rejected, seconds=seconds)


def _collect(spark: SparkSession, tasks: Sequence[Task]) -> list[Result] | Exception:
    try:
        rows = [(number, _pack(task)) for number, task in enumerate(tasks)]
        frame = spark.sparkContext.parallelize(rows, len(rows)).toDF("number long, task string").pandas_api()
        done = frame.pandas_on_spark.apply_batch(_process_batch)
        return [_unpack(result) for result in done["result"].to_numpy()]
    except Exception as error:
        return error


def _process_batch(frame: pd.DataFrame) -> ps.DataFrame["result":str]:  # type: ignore[valid-type]  # noqa: F821
    done: ps.DataFrame[Any] = pd.DataFrame({"result": [_pack(process_chunk(_unpack(task))) for task in frame["task"]]})
    return done


def _pack(value: object) -> str:
    """As text, which a frame can hold."""
    return base64.b85encode(pickle.dumps(value)).decode()


def _unpack(text: str) -> Any:
    return pickle.loads(base64.b85decode(text))
