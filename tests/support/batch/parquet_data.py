"""Data sets for the batch job, runs of it as a process of its own, and what is to be seen of them from outside."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from common.inference.model import Model
from tests.support.processes import ROOT, wait_until
from tests.support.samples import MLP

Features = NDArray[np.float32]
Stamps = dict[str, tuple[int, int]]
"""Of each part: its inode and time of change, which a part that is done again does not keep."""

LIST = pa.list_(pa.float32(), 64)
JOB = (sys.executable, "-m", "batch.job", "run")


def pictures(rows: int, seed: int = 1) -> Features:
    """As much ink in each cell as the model's training data had, about."""
    reference = json.loads(MLP.with_suffix(".json").read_text())["reference"]
    mean, std = np.array(reference["feature_mean"]), np.array(reference["feature_std"])
    drawn = np.random.default_rng(seed).normal(mean, std, (rows, 64)).clip(0, 16)
    return drawn.astype(np.float32)


def write(file: Path, features: Sequence[Any] | NDArray[Any], kind: pa.DataType = LIST, **options: Any) -> Path:
    """A file of these rows, whose ids are unlike those of any other file; options are those of `write_table`."""
    file.parent.mkdir(parents=True, exist_ok=True)
    ids = [f"{file.stem}-{row}" for row in range(len(features))]
    if isinstance(features, np.ndarray):
        pixels = pa.FixedSizeListArray.from_arrays(pa.array(features.reshape(-1)), 64).cast(kind)
    else:
        pixels = pa.array(features, kind)
    pq.write_table(pa.table({"id": ids, "pixels": pixels}), file, **options)
    return file


def write_slow(folder: Path, chunks: int, seconds: float, files: int = 1, rows: int = 20) -> Path:
    """A data set whose every row group takes the slow reader so many seconds."""
    for number in range(files):
        features = pictures(chunks // files * rows, seed=number)
        features[:, 0] = seconds
        write(folder / f"{number}.parquet", features, row_group_size=rows)
    return folder


def answers_of(features: Features) -> tuple[NDArray[Any], NDArray[Any]]:
    """Digits and confidences, by the model itself, a row at a time."""
    model = Model.load(str(MLP), threads=1)
    rows = (features[row : row + 1] for row in range(len(features)))
    found = np.concatenate([model.run({"features": row})["probabilities"] for row in rows])
    return found.argmax(axis=1), found.max(axis=1)


class Job:
    """A job that runs, in a session of its own."""

    def __init__(self, process: subprocess.Popen[str], output: Path) -> None:
        self.process = process
        self.output = output

    def members(self) -> list[int]:
        """All processes of its session that have not ended."""
        return members(self.process.pid)

    def workers_at(self, part: str = "") -> set[int]:
        """The processes that are, or died, at work on a part, or on any."""
        return {int(file.name.rpartition(".")[2]) for file in self.output.glob(f".part-{part}*.parquet.*")}

    def kill(self) -> None:
        """SIGKILL to all of its processes at once."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def wait_for_parts(self, count: int) -> None:
        """Until so many parts are there."""
        wait_until(lambda: len(parts(self.output)) >= count, seconds=90)

    def ended(self, seconds: float = 100.0) -> tuple[int, str, str]:
        """Exit code, output and errors."""
        out, errors = self.process.communicate(timeout=seconds)
        return self.process.returncode, out, errors


@contextmanager
def job(source: object, output: Path, *options: str, **settings: object) -> Iterator[Job]:
    """`python -m batch.job run`, with one input or a list of them; whatever is left of it at the end is killed."""
    inputs = [f"--input={one}" for one in (source if isinstance(source, list) else [source])]
    environment = {"WORKERS": "2"} | {name.upper(): str(value) for name, value in settings.items()}
    process = subprocess.Popen(
        [*JOB, *inputs, f"--output={output}", *options],
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield Job(process, output)
    finally:
        for member in members(process.pid):
            kill(member)
        process.communicate()


def run_job(source: object, output: Path, *options: str, code: int = 0, **settings: object) -> str:
    """Run a job to its end, which must be with this code; what it has written, errors included."""
    with job(source, output, *options, **settings) as one:
        got, out, errors = one.ended()
        assert got == code, f"{got}\n{out}\n{errors}"
        assert "Traceback" not in errors
        wait_until(lambda: not one.members(), seconds=2)  # also multiprocessing's own helper
        return out + errors


def members(session: int) -> list[int]:
    """The processes of a session that have not ended."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            fields = (process / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(process.name))
    return found


def memory_mb(session: int) -> float:
    """What the processes of a session take; what several share counts once."""
    total = 0
    for member in members(session):
        try:
            lines = Path(f"/proc/{member}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue  # it has ended
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


def kill(process: int) -> None:
    """SIGKILL, if it is still there."""
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)


def parts(output: Path) -> list[Path]:
    return sorted(output.glob("part-*.parquet"))


def stamps(output: Path) -> Stamps:
    """What differs between a part and one that took its place."""
    return {file.name: (file.stat().st_ino, file.stat().st_mtime_ns) for file in parts(output)}


def file_stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """Each file's inode and time of change."""
    return {str(file): (file.stat().st_ino, file.stat().st_mtime_ns) for file in folder.rglob("*")}


def contents(output: Path) -> dict[str, bytes]:
    """All that is published."""
    return {file.name: file.read_bytes() for file in [*parts(output), *parts(output / "_rejected")]}


def rows_of(output: Path) -> dict[Any, tuple[int, float, str]]:
    """Answers by id; each id must be there once."""
    table = pa.concat_tables([pq.read_table(file, partitioning=None) for file in parts(output)])
    assert table.column_names == ["id", "digit", "confidence", "model_version"]
    ids, *columns = (table.column(name).to_pylist() for name in table.column_names)
    assert len(set(ids)) == len(ids)
    return dict(zip(ids, zip(*columns, strict=True), strict=True))


def rejected_of(output: Path) -> dict[Any, str]:
    """The reason by the id of each rejected row."""
    tables = [pq.read_table(file, partitioning=None).to_pydict() for file in parts(output / "_rejected")]
    return {one: reason for table in tables for one, reason in zip(table["id"], table["reason"], strict=True)}


def state(output: Path, file: str = "_progress.json") -> Any:
    """What the job says of itself."""
    return json.loads((output / file).read_text())


def leftovers(output: Path) -> list[str]:
    """What a job must not leave behind: files that were being written."""
    return [file.name for file in [*output.glob(".*"), *(output / "_rejected").glob(".*")]]
