"""A batch job is killed, whole or in part, at any moment, and goes on: nothing is lost, nothing is done twice."""

import os
import random
import time
from pathlib import Path

import pytest

from batch.dataset.dataset import plan
from tests.support.batch.parquet_data import (
    Job,
    contents,
    job,
    kill,
    leftovers,
    parts,
    rows_of,
    run_job,
    stamps,
    state,
    write_slow,
)
from tests.support.models.onnx_models import slow_reader
from tests.support.processes import wait_until

KILLS = 20
CHUNKS = 16
SETTINGS = {"chunk_rows": 20}


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> str:
    return slow_reader(tmp_path_factory.mktemp("model") / "mlp.onnx")


def killed(one: Job, whole: bool, slack: float = 2.0) -> None:
    """SIGKILL, to all of its processes or to the parent alone, whose workers must then end by themselves."""
    if whole:
        one.kill()
        return
    kill(one.process.pid)
    one.process.wait()
    wait_until(lambda: not one.members(), seconds=slack)


def test_killed_job_leaves_no_process_and_resumes(tmp_path: Path, slow: str) -> None:
    source, output = write_slow(tmp_path / "data", chunks=6, seconds=0.1), tmp_path / "out"
    with job(source, output, model_uri=slow, batching="on", **SETTINGS) as one:
        one.wait_for_parts(2)
        killed(one, whole=False)
    (output / "._progress.json.1").write_text("{")  # as if it had been telling of itself at that moment
    before = stamps(output)
    assert not (output / "_SUCCESS").exists()
    run_job(source, output, model_uri=slow, batching="on", **SETTINGS)
    assert before.items() <= stamps(output).items()
    assert len(rows_of(output)) == 6 * 20
    assert leftovers(output) == []


@pytest.mark.full
@pytest.mark.timeout(300)
def test_job_killed_at_random_moments_gives_the_same_output(tmp_path: Path, slow: str) -> None:
    seed = int(os.environ.get("SEED", random.randrange(10**6)))
    print(f"SEED={seed}")
    draw = random.Random(seed)
    source = write_slow(tmp_path / "data", CHUNKS, seconds=0.1, files=2)
    started = time.monotonic()
    run_job(source, tmp_path / "whole", model_uri=slow, batching="on", **SETTINGS)
    longest = time.monotonic() - started
    expected = contents(tmp_path / "whole")
    assert len(expected) == CHUNKS
    kills = runs = 0
    while kills < KILLS:
        output = tmp_path / f"out-{runs}"
        before: dict[str, tuple[int, int]] = {}
        while not (output / "_SUCCESS").exists():
            with job(source, output, model_uri=slow, batching="on", **SETTINGS) as one:
                if kills < KILLS:
                    end = time.monotonic() + draw.uniform(0.1, longest)
                    wait_until(lambda one=one, end=end: one.process.poll() == 0 or time.monotonic() > end)  # type: ignore[misc]
                    if one.process.poll() is None:
                        killed(one, draw.random() < 0.5, slack=10)  # a worker that still starts does not look yet
                        kills += 1
                else:
                    assert one.ended()[0] == 0
            assert before.items() <= stamps(output).items()
            before = stamps(output)
            for file in parts(output):  # what is there is whole
                assert file.read_bytes() == expected[file.name]
        assert contents(output) == expected
        assert leftovers(output) == []
        assert state(output)["rows"] == CHUNKS * 20
        runs += 1


@pytest.mark.full
def test_job_goes_on_when_a_worker_is_killed(tmp_path: Path, slow: str) -> None:
    source = write_slow(tmp_path / "data", chunks=6, seconds=0.2)
    with job(source, tmp_path / "out", model_uri=slow, batching="on", **SETTINGS) as one:
        one.wait_for_parts(1)
        before = stamps(tmp_path / "out")
        kill(wait_until(one.workers_at).pop())
        assert one.ended()[0] == 0
    assert before.items() < stamps(tmp_path / "out").items()
    assert len(rows_of(tmp_path / "out")) == 120
    assert state(tmp_path / "out")["failed_chunks"] == 0
    assert leftovers(tmp_path / "out") == []


@pytest.mark.full
def test_chunk_fails_after_three_crashes_and_the_others_are_processed(tmp_path: Path, slow: str) -> None:
    source, output = write_slow(tmp_path / "data", chunks=5, seconds=0.3), tmp_path / "out"
    deadly = plan([str(source)], 20).chunks[1].name
    victims: set[int] = set()
    with job(source, output, model_uri=slow, batching="on", **SETTINGS) as one:

        def over() -> bool:
            for worker in one.workers_at(deadly) - victims:
                victims.add(worker)
                kill(worker)
            return one.process.poll() is not None

        wait_until(over, seconds=60)
        code, _, errors = one.ended()
    assert code == 1
    assert len(victims) == 3
    assert f"{source}/0.parquet: 3 processes crashed while processing it" in errors
    assert "3 processes crashed while processing it" in state(output)["errors"][0]
    assert (state(output)["status"], state(output)["failed_chunks"], state(output)["chunks"]) == ("failed", 1, 4)
    assert len(rows_of(output)) == 80
    assert not (output / "_SUCCESS").exists()
    before = stamps(output)
    run_job(source, output, model_uri=slow, batching="on", **SETTINGS)
    assert before.items() < stamps(output).items()
    assert leftovers(output) == []
