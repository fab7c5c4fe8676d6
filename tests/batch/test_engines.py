"""The same job on this machine's processes, on Dask and on Spark: the same parts to the byte, and memory that stays."""

import os
import signal
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.batch.parquet_data import (
    LIST,
    contents,
    job,
    kill,
    leftovers,
    memory_mb,
    pictures,
    rows_of,
    run_job,
    stamps,
    state,
    write,
    write_slow,
)
from tests.support.models.onnx_models import slow_reader
from tests.support.processes import free_port, listens, running, wait_until

ENGINES = ("local", "dask", "spark")
SETTINGS = {"chunk_rows": 20_000}


def skewed(folder: Path) -> Path:
    """One large partition, many small ones, empty ones, a few rows that are no pictures, and a damaged file."""
    features = pictures(200_000)
    features[::20_001] = 0
    write(folder / "date=2026-01-01" / "large.parquet", features[:150_000], row_group_size=10_000)
    for number, part in enumerate(np.array_split(features[150_000:], 10)):
        write(folder / f"date=2026-01-{number + 2:02}" / f"small-{number}.parquet", part, row_group_size=3_000)
    schema = pa.schema({"id": pa.string(), "pixels": LIST})
    (folder / "date=2026-02-01").mkdir()
    pq.write_table(schema.empty_table(), folder / "date=2026-02-01" / "group.parquet")
    pq.ParquetWriter(folder / "date=2026-02-01" / "none.parquet", schema).close()
    (folder / "date=2026-02-02").mkdir()
    (folder / "date=2026-02-02" / "bad.parquet").write_bytes(b"PAR1, but no more")
    return folder


@pytest.mark.full
@pytest.mark.timeout(300)
def test_engines_write_the_same_parts_and_only_the_bad_chunk_fails(tmp_path: Path) -> None:
    source = skewed(tmp_path / "data")
    reported = {}
    for engine in ENGINES:
        said = run_job(source, tmp_path / engine, f"--engine={engine}", code=1, **SETTINGS)
        assert "1 chunks failed" in said
        assert "/bad.parquet: " in said
        progress = state(tmp_path / engine)
        reported[engine] = {name: progress[name] for name in ("status", "rows", "rejected", "chunks", "failed_chunks")}
        assert len(progress["errors"]) == 1
        assert leftovers(tmp_path / engine) == []
    assert reported["local"] == {
        "status": "failed",
        "rows": 200_000,
        "rejected": 10,
        "chunks": state(tmp_path / "local")["chunks_total"] - 1,
        "failed_chunks": 1,
    }
    assert reported["dask"] == reported["spark"] == reported["local"]
    expected = contents(tmp_path / "local")
    assert contents(tmp_path / "dask") == expected
    assert contents(tmp_path / "spark") == expected
    assert len(rows_of(tmp_path / "local")) == 200_000 - 10

    # What one engine has begun another finishes.
    before = stamps(tmp_path / "spark")
    write(source / "date=2026-02-02" / "bad.parquet", pictures(30))
    run_job(source, tmp_path / "spark", **SETTINGS)
    assert before.items() < stamps(tmp_path / "spark").items()
    assert len(rows_of(tmp_path / "spark")) == 200_000 - 10 + 30


@pytest.mark.full
@pytest.mark.timeout(300)
def test_local_cluster_ends_with_its_job(tmp_path: Path) -> None:
    """Cancelled by SIGTERM, or its parent killed: no scheduler, no worker is left."""
    source, output = write_slow(tmp_path / "data", chunks=16, seconds=0.2), tmp_path / "out"
    settings: dict[str, Any] = {"chunk_rows": 20, "model_uri": slow_reader(tmp_path / "mlp.onnx"), "batching": "on"}
    with job(source, output, "--engine=dask", **settings) as one:
        one.wait_for_parts(1)
        one.process.send_signal(signal.SIGTERM)
        code, _, errors = one.ended(seconds=30)
        assert code == 130
        assert "Traceback" not in errors
        wait_until(lambda: not one.members(), seconds=5)
    assert state(output)["status"] == "cancelled"
    before = stamps(output)
    assert 0 < len(before) < 16
    with job(source, output, "--engine=dask", **settings) as one:
        one.wait_for_parts(len(before) + 1)
        os.kill(one.process.pid, signal.SIGKILL)
        one.process.wait()
        wait_until(lambda: not one.members(), seconds=5)
    run_job(source, output, **settings)
    assert before.items() < stamps(output).items()
    assert len(rows_of(output)) == 320


@pytest.mark.full
@pytest.mark.parametrize(("number", "chunks"), [(signal.SIGTERM, 0), (signal.SIGINT, 1)])
def test_spark_job_reports_that_it_was_cancelled_also_while_spark_starts(
    tmp_path: Path, number: signal.Signals, chunks: int
) -> None:
    source, output = write_slow(tmp_path / "data", chunks=16, seconds=0.5), tmp_path / "out"
    settings: dict[str, Any] = {"chunk_rows": 20, "model_uri": slow_reader(tmp_path / "mlp.onnx"), "batching": "on"}
    with job(source, output, "--engine=spark", **settings) as one:
        wait_until(lambda: (output / "_progress.json").exists())
        one.wait_for_parts(chunks)
        os.killpg(one.process.pid, number) if number == signal.SIGINT else one.process.send_signal(number)
        code, _, errors = one.ended()
        wait_until(lambda: not one.members(), seconds=5)
    assert code == 130
    assert "Traceback" not in errors
    assert errors.splitlines()[-1] == "cancelled: start it again to go on"
    assert state(output)["status"] == "cancelled"
    assert leftovers(output) == []


@pytest.mark.full
def test_spark_job_goes_on_when_a_worker_is_killed(tmp_path: Path) -> None:
    source, output = write_slow(tmp_path / "data", chunks=6, seconds=0.5), tmp_path / "out"
    with job(
        source, output, "--engine=spark", chunk_rows=20, model_uri=slow_reader(tmp_path / "mlp.onnx"), batching="on"
    ) as one:
        kill(wait_until(one.workers_at, seconds=90).pop())
        assert one.ended()[0] == 0
    assert len(rows_of(output)) == 120
    assert state(output)["failed_chunks"] == 0
    assert leftovers(output) == []


@pytest.mark.full
def test_job_fails_with_the_reason_if_its_engine_cannot_start(tmp_path: Path) -> None:
    source, output = write(tmp_path / "a.parquet", pictures(10)), tmp_path / "out"
    with job(source, output, "--engine=spark", java_home=tmp_path / "no-java") as one:
        code, _, errors = one.ended()
    assert code == 1
    assert "no-java" in errors
    assert state(output)["status"] == "failed"
    assert "Java" in state(output)["errors"][0]


def test_spark_job_fails_at_once_where_no_master_listens(tmp_path: Path) -> None:
    source, nowhere = write(tmp_path / "a.parquet", pictures(10)), f"spark://127.0.0.1:{free_port()}"
    said = run_job(source, tmp_path / "out", "--engine=spark", code=1, spark_master=nowhere)
    assert f"SPARK_MASTER={nowhere}: nothing listens there" in said
    assert state(tmp_path / "out")["status"] == "failed"


@pytest.mark.full
def test_trial_on_a_cluster_estimates_with_all_of_its_threads(tmp_path: Path) -> None:
    source, port = write(tmp_path / "a.parquet", pictures(2_000), row_group_size=100), str(free_port())
    cluster = f"tcp://127.0.0.1:{port}"
    worker = [sys.executable, "-m", "distributed.cli.dask_worker", cluster, "--nthreads", "3", "--no-dashboard"]
    with (
        running(sys.executable, "-m", "distributed.cli.dask_scheduler", "--port", port, "--no-dashboard"),
        running(*worker, "--no-nanny", "--local-directory", str(tmp_path)),
    ):
        how = ("--engine=dask", "--trial")
        run_job(source, tmp_path / "out", *how, chunk_rows=100, workers=1, dask_scheduler=cluster)
    report = state(tmp_path / "out", "_trial.json")
    assert report["eta_seconds"] == pytest.approx(2_000 / report["rows_per_second"] / 3)


@pytest.mark.full
def test_job_on_a_cluster_without_workers_fails_within_a_minute_and_says_so(tmp_path: Path) -> None:
    source, ports = write(tmp_path / "a.parquet", pictures(10)), [str(free_port()) for _ in range(3)]
    scheduler = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--port", ports[0], "--no-dashboard"]
    spark_class = Path(find_spec("pyspark").origin).parent / "bin" / "spark-class"  # type: ignore[union-attr, arg-type]
    listen = ["--host", "127.0.0.1", "--port", ports[1], "--webui-port", ports[2]]
    addresses = {"dask_scheduler": f"tcp://127.0.0.1:{ports[0]}", "spark_master": f"spark://127.0.0.1:{ports[1]}"}
    java = {"SPARK_DAEMON_JAVA_OPTS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"}  # as in Docker
    with (
        running(*scheduler, folder=tmp_path),
        running(str(spark_class), "org.apache.spark.deploy.master.Master", *listen, folder=tmp_path, **java),
    ):
        wait_until(lambda: all(listens(int(port)) for port in ports[:2]))
        with (
            job(source, tmp_path / "by-dask", "--engine=dask", **addresses) as by_dask,
            job(source, tmp_path / "by-spark", "--engine=spark", **addresses) as by_spark,
        ):
            began = time.monotonic()
            for one, reason in ((by_dask, "no worker has connected"), (by_spark, "no executor has connected")):
                code, _, errors = one.ended()
                assert (code, "Traceback" in errors) == (1, False), errors
                assert reason in state(one.output)["errors"][0]
            assert time.monotonic() - began < 95  # a minute, and the start of Java beside other work


def peak_mb(source: Path, output: Path) -> float:
    """The largest sum of all its processes' memory while a job runs, one of which reads."""
    peak = 0.0
    with job(source, output, chunk_rows=50_000, workers=1) as one:
        while one.process.poll() is None:
            peak = max(peak, memory_mb(one.process.pid))
            time.sleep(0.1)
        assert one.ended()[0] == 0
    return peak


@pytest.mark.full
def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    """Nor with the row groups that a writer has made of them: here all rows of a file are one."""
    features = pictures(200_000)
    small, large = tmp_path / "small", tmp_path / "large"
    write(small / "0.parquet", features, row_group_size=50_000)
    few = peak_mb(small, tmp_path / "few")
    for number in range(10):
        (large / f"{number}.parquet").parent.mkdir(exist_ok=True)
        (large / f"{number}.parquet").hardlink_to(small / "0.parquet")
    many = peak_mb(large, tmp_path / "many")
    bytewise = np.tile(features.astype(np.uint8), (10, 1))
    group = write(tmp_path / "group.parquet", bytewise, pa.list_(pa.uint8()), row_group_size=len(bytewise))
    assert pq.ParquetFile(group).num_row_groups == 1
    one_group = peak_mb(group, tmp_path / "one")
    print(f"{few:.0f} MB for 200,000 rows, {many:.0f} MB for 2,000,000, {one_group:.0f} MB for one group of 2,000,000")
    assert many < 1.3 * few
    assert one_group < 1.3 * few  # the group as a whole would be 150 MB more


@pytest.mark.full
def test_spark_runs_the_jobs_own_python_if_no_environment_is_activated(tmp_path: Path) -> None:
    source = write(tmp_path / "a.parquet", pictures(10))
    run_job(source, tmp_path / "out", "--engine=spark", path="/usr/bin:/bin", spark_master="local[1]")
    assert len(rows_of(tmp_path / "out")) == 10
    assert 0 < state(tmp_path / "out")["rows_per_second"] < 5_000  # to load the model alone takes longer than 2 ms
