"""Other ways to predict a Parquet data set, each a program: `python -m benchmarks.support.batch_contestants NAME …`

All read and write the same columns as the batch job. None of them can be killed and go on, reports progress, or sets
a row aside.
"""

import sys
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import onnxruntime as ort
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from common.inference.model_file import read_model_file
from common.inference.settings import MODELS

BATCH_ROWS = 8_192
MODEL = MODELS / "mlp.onnx"
Features = NDArray[np.float32]


class Reader:
    """The model on one thread, with nothing around it."""

    def __init__(self) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self.version = read_model_file(str(MODEL), None, 30.0).sha256[:12]
        self._session = ort.InferenceSession(MODEL, options)

    def answers(self, features: Features) -> dict[str, Any]:
        """Columns without the id, for any number of rows."""
        parts = [features[row : row + BATCH_ROWS] for row in range(0, len(features), BATCH_ROWS)]
        found = [self._session.run(["probabilities"], {"features": part})[0] for part in parts]
        probabilities = np.concatenate(found) if found else np.zeros((0, 10), np.float32)
        return {
            "digit": probabilities.argmax(axis=1).astype(np.int8),
            "confidence": probabilities.max(axis=1, initial=0),
            "model_version": np.full(len(features), self.version),
        }


def features_of(pixels: Any) -> Features:
    """Of a column of lists."""
    table: Features = pixels.flatten().to_numpy().reshape(-1, 64)
    return table


def loop_over(file: Path, output: Path) -> None:
    """One file, batch by batch."""
    reader = Reader()
    schema = pa.schema({"id": pa.int64(), "digit": pa.int8(), "confidence": pa.float32(), "model_version": pa.string()})
    with pq.ParquetFile(file) as opened, pq.ParquetWriter(output / file.name, schema) as writer:
        for batch in opened.iter_batches(BATCH_ROWS, columns=["id", "pixels"], use_threads=False):
            columns = {"id": batch.column("id")} | reader.answers(features_of(batch.column("pixels")))
            writer.write_batch(pa.RecordBatch.from_pydict(columns, schema=schema))


def loop(source: Path, output: Path) -> None:
    """A plain pyarrow loop."""
    for file in sorted(source.iterdir()):
        loop_over(file, output)


def two_loops(source: Path, output: Path) -> None:
    """The same in two processes, each with half of the files."""
    with get_context("spawn").Pool(2) as pool:
        pool.starmap(loop_over, [(file, output) for file in sorted(source.iterdir())], chunksize=1)


def pandas(source: Path, output: Path) -> None:
    """All of it in one frame, and a pipeline of scikit-learn."""
    import pandas as pd
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    digits = load_digits()
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200))
    pipeline.fit(digits.data.astype(np.float32), digits.target)
    frame = pd.read_parquet(source, columns=["id", "pixels"])
    probabilities = pipeline.predict_proba(np.stack(frame["pixels"].to_numpy()))
    frame = frame[["id"]]
    frame["digit"] = probabilities.argmax(axis=1).astype(np.int8)
    frame["confidence"] = probabilities.max(axis=1).astype(np.float32)
    frame["model_version"] = "pipeline"
    frame.to_parquet(output / "all.parquet")


_readers: list[Reader] = []


def frame_of(frame: Any) -> Any:
    """A partition's answers, as a pandas frame; the model is loaded once in a process."""
    import pandas as pd

    if not _readers:
        _readers.append(Reader())
    pixels = np.concatenate(frame["pixels"].to_list()) if len(frame) else np.zeros(0, np.float32)
    answers = _readers[0].answers(pixels.astype(np.float32, copy=False).reshape(-1, 64))
    return pd.DataFrame({"id": frame["id"].to_numpy(), **answers})


def dask(source: Path, output: Path) -> None:
    """read_parquet, map_partitions, to_parquet, on two workers."""
    import dask.dataframe as dd
    import pandas as pd
    from distributed import Client, LocalCluster

    types = {"id": "int64", "digit": "int8", "confidence": "float32", "model_version": "object"}
    meta = pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in types.items()})
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster):
        frame = dd.read_parquet(source, columns=["id", "pixels"], split_row_groups=2)
        frame.map_partitions(frame_of, meta=meta).to_parquet(output, schema=None)


SCHEMA = "id long, digit byte, confidence float, model_version string"


def _spark() -> Any:
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
    return builder.config("spark.ui.showConsoleProgress", "false").config("spark.driver.memory", "4g").getOrCreate()


def spark(source: Path, output: Path) -> None:
    """mapInPandas."""

    def predict_frames(frames: Iterator[Any]) -> Iterator[Any]:
        for frame in frames:
            yield frame_of(frame)

    session = _spark()
    read = session.read.parquet(str(source)).select("id", "pixels")
    read.mapInPandas(predict_frames, SCHEMA).write.mode("overwrite").parquet(str(output))
    session.stop()


def pandas_on_spark(source: Path, output: Path) -> None:
    """The pandas API on Spark: read_parquet, apply_batch, to_parquet."""
    import pyspark.pandas as ps

    session = _spark()

    def predict_frames(frame: Any) -> Any:
        return frame_of(frame)

    types: Any = ps.DataFrame  # Spark reads the annotation
    columns = types["id" : np.int64, "digit" : np.int8, "confidence" : np.float32, "model_version":str]
    predict_frames.__annotations__ = {"return": columns}
    frame = ps.read_parquet(str(source), columns=["id", "pixels"])
    frame.pandas_on_spark.apply_batch(predict_frames).to_parquet(str(output), mode="overwrite")
    session.stop()


def arrays(source: Path, output: Path) -> None:
    """What the model alone takes on one thread: arrays in memory, whose answers are thrown away."""
    table = pq.read_table(source, columns=["pixels"]).column("pixels")
    blocks = [features_of(chunk) for chunk in table.chunks]
    reader = Reader()
    started = perf_counter()
    for block in blocks:
        reader.answers(block)
    print(perf_counter() - started)


CONTESTANTS: dict[str, Callable[[Path, Path], None]] = {
    "arrays": arrays,
    "loop": loop,
    "two_loops": two_loops,
    "pandas": pandas,
    "dask": dask,
    "spark": spark,
    "pandas_on_spark": pandas_on_spark,
}

if __name__ == "__main__":
    from benchmarks.support import batch_contestants as these  # whose functions a worker finds by name, and keeps

    these.CONTESTANTS[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))
