"""A batch job whose processes are all killed half-way, and the run that resumes it."""

from pathlib import Path

import pyarrow.parquet as pq

from benchmarks.support.side_by_side.results import BatchKill
from tests.support.batch.parquet_data import job, parts, run_job, stamps


def kill_and_resume(source: Path, output: Path, rows: int) -> BatchKill:
    """Kill the job when a third of its chunks are there, run it again, and count what is there then."""
    chunk_rows = max(1, rows // 12)
    with job(source, output, chunk_rows=chunk_rows) as one:
        one.wait_for_parts(4)
        one.kill()
    kept = stamps(output)
    run_job(source, output, chunk_rows=chunk_rows)
    done = stamps(output)
    found = sum(pq.read_metadata(part).num_rows for part in parts(output))
    return BatchKill(
        rows=rows,
        rows_missing=rows - found,
        chunks=len(done),
        chunks_kept=sum(done[part] == stamp for part, stamp in kept.items()),
    )
