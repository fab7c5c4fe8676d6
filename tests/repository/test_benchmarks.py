"""The benchmarks run, say something, and leave nothing behind; how quick anything is depends on the machine."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import figure
from benchmarks.queue_bench import valkey
from benchmarks.support.figure.rows import row_tops
from benchmarks.support.figure.svg import SCHEMES
from benchmarks.support.growing_queue import measure_depth
from benchmarks.support.machine import on_cpus, part_cpus
from benchmarks.support.servers.proxies import proxy
from benchmarks.support.side_by_side.results import FILE, Outcome, Results
from tests.support.processes import ROOT, output_of, wait_until
from tests.support.stack import predictor_url, stack_of

CONTESTANTS = ["constant", "minimal", "ours", "ours /v2 JSON", "ours /v2 binary", "ours gRPC"]
QUICK = (sys.executable, "-m", "benchmarks.online", "--seconds=1", "--rounds=1", "--connections=2", "--models=small")


def servers_of(folder: Path) -> list[int]:
    """The processes whose TMPDIR is this folder, which is how a benchmark's own differ from all others."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"TMPDIR={folder}\0".encode() in (process / "environ").read_bytes():
                found.append(int(process.name))
        except OSError:
            continue  # it has ended, or is of another user
    return found


@pytest.mark.full
@pytest.mark.wrk
def test_the_online_benchmark_prints_a_table_and_ends_its_servers(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    lines = output_of(*QUICK, f"--json={file}", TMPDIR=str(tmp_path)).splitlines()
    for contestant in CONTESTANTS:
        assert any(line.startswith(f"| small | 2 | {contestant} | ") for line in lines), lines
    measurements = json.loads(file.read_text())["measurements"]
    assert [one["contestant"] for one in measurements] == CONTESTANTS
    assert all(one["requests_per_second"] > 0 and one["cpu_us"] > 0 for one in measurements)
    assert servers_of(tmp_path) == []
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.wrk
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_benchmark_ends_its_servers(tmp_path: Path, number: signal.Signals) -> None:
    process = subprocess.Popen(
        QUICK, cwd=ROOT, env=os.environ | {"TMPDIR": str(tmp_path)}, stderr=subprocess.PIPE, start_new_session=True
    )
    wait_until(lambda: len(servers_of(tmp_path)) > 2)  # the benchmark and two servers
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode != 0
    assert b"Traceback" not in errors
    assert servers_of(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_without_wrk_the_benchmark_says_what_to_install() -> None:
    done = subprocess.run(QUICK, cwd=ROOT, env=os.environ | {"PATH": ""}, capture_output=True, text=True)
    assert done.returncode == 1
    assert "wrk is not installed" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.full
def test_the_pieces_of_a_request_are_measured() -> None:
    table = output_of(sys.executable, "-m", "benchmarks.pieces")
    assert "from_json" in table
    assert "all of ours" in table


@pytest.mark.full
def test_the_cost_of_a_picture_is_measured_up_to_the_largest_of_each_format() -> None:
    table = output_of(sys.executable, "-m", "benchmarks.pictures")
    for largest in (
        "| PNG | 2048 x 2048 |",
        "| WebP | 2048 x 2048 |",
        "| JPEG | 8000 x 6000 |",
        "JPEG | 4000 x 3000 |",
    ):
        assert largest in table


@pytest.mark.full
def test_as_many_damaged_scans_are_read_as_contributing_says() -> None:
    table = output_of(sys.executable, "-m", "benchmarks.damaged_scans")
    for name, pictures, least_right, most_refused in (("held-out", 450, 440, 0), ("damaged", 1800, 1460, 16)):
        (row,) = (line for line in table.splitlines() if line.startswith(f"| {name} | {pictures} | "))
        refused, right, *_ = (int(cell) for cell in row.split(" | ")[2:-1])
        assert right >= least_right
        assert refused <= most_refused


@pytest.mark.full
@pytest.mark.wrk
def test_the_comparison_with_other_servers_measures_those_that_are_asked_for() -> None:
    """The others are installed by `make bench-peers` only."""
    options = ("--seconds=1", "--rounds=1", "--tasks", "small", "--contestants", "constant", "ours")
    table = output_of(sys.executable, "-m", "benchmarks.peer_bench", *options)
    for contestant in ("constant", "ours"):
        assert f"| small | 1 | {contestant} | " in table
        assert f"| small | 32 | {contestant} | " in table


@pytest.mark.full
def test_the_ways_to_send_a_call_are_measured() -> None:
    table = output_of(sys.executable, "-m", "benchmarks.transports", "--calls=200", "--rounds=1")
    for way in ("aiohttp, bare", "httpx, its own transport", "ours, REST", "ours, gRPC"):
        assert f"| {way} | " in table


def test_a_proxy_is_measured_on_another_cpu_than_what_it_calls_and_the_load() -> None:
    cpus = part_cpus()
    with on_cpus(cpus.load), stack_of("synchronous") as these:
        predictor = these.launch("predictor")
        with proxy("synchronous", predictor_url=predictor_url(these, "http")) as measured:
            assert os.sched_getaffinity(measured.process.pid) == cpus.server
            assert os.sched_getaffinity(predictor.process.pid) == os.sched_getaffinity(0) == cpus.load


@pytest.mark.full
@pytest.mark.wrk
def test_the_cost_of_a_hop_is_measured() -> None:
    table = output_of(sys.executable, "-m", "benchmarks.hops", "--seconds=1", "--rounds=1")
    for way in ("none", "REST", "gRPC"):
        assert f"| {way} | 1 | " in table
        assert f"| {way} | 16 | " in table


@pytest.mark.full
@pytest.mark.wrk
def test_how_latency_adds_up_is_measured_and_no_request_fails() -> None:
    table = output_of(sys.executable, "-m", "benchmarks.chain", "--seconds=1", "--rounds=1")
    rows = [line for line in table.splitlines() if line.startswith("| quality, reader")]
    assert len(rows) == 2 + 2 * 3  # whole and parts of each route; then each at three rates
    assert all(row.endswith("| 0 |") for row in rows[2:])


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_figure_of_the_readme_is_the_one_that_the_committed_results_draw(scheme: str) -> None:
    results = Results.model_validate_json(FILE.read_text())
    assert (ROOT / "docs" / f"side-by-side-{scheme}.svg").read_text() == figure.draw(results, SCHEMES[scheme])


def test_the_figure_shows_every_contestant_that_was_measured() -> None:
    results = Results.model_validate_json(FILE.read_text())
    assert {*results.speeds} == {row.name for row, _ in row_tops()}
    assert {*results.slow} == {*results.killed}
    assert not any(incident.lost for incident in (*results.slow.values(), *results.killed.values()))
    assert results.batch_kill
    assert results.batch_kill.rows_missing == 0


@pytest.mark.full
@pytest.mark.wrk
def test_a_contestant_is_measured_side_by_side_while_its_model_is_slow_and_killed(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    options = ("--contestants", "synchronous", "--parts", "online", "incidents", "--seconds=1", "--rounds=1")
    output_of(sys.executable, "-m", "benchmarks.side_by_side", *options, f"--json={file}", TMPDIR=str(tmp_path))
    results = Results.model_validate_json(file.read_text())
    assert results.speeds["synchronous"].digits_per_second[0] > 0
    for incident in (results.slow["synchronous"], results.killed["synchronous"]):
        assert Outcome.PARTIAL in incident.outcomes
        assert incident.share(Outcome.DIGIT, Outcome.PARTIAL) > 0.5
    assert servers_of(tmp_path) == []


def test_the_cost_of_the_queue_is_measured_at_a_depth(tmp_path: Path) -> None:
    with valkey(tmp_path / "queue") as url:
        depth, *figures = asyncio.run(measure_depth(url, 10))
    assert depth == "10"
    assert all(float(figure) > 0 for figure in figures)


@pytest.mark.full
def test_a_short_soak_reads_the_memory_of_every_process_and_loses_no_job(tmp_path: Path) -> None:
    command = (sys.executable, "-m", "benchmarks.soak", "--seconds=4", "--patterns", "asynchronous", "web_single")
    lines = output_of(*command, TMPDIR=str(tmp_path)).splitlines()
    for process in ("asynchronous | redis", "asynchronous | predictor", "web_single | web_single"):
        assert any(line.startswith(f"| {process} | ") for line in lines), lines
    assert "| asynchronous | job | 40 | 0 |" in lines
    assert servers_of(tmp_path) == []
    assert list(tmp_path.iterdir()) == []
