"""`python -m common.run`: Ctrl-C, SIGTERM and a closed terminal end everything, with exit status 0."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.support.models.onnx_models import slow_pixels, slow_reader
from tests.support.patterns.start import free_ports
from tests.support.processes import ROOT, answers, free_port, listens, wait_until
from tests.support.runner.demo import NAMES, SERVER, is_alive, replace, run, settings_of
from tests.support.service_process import client_of
from tests.support.terminal import CTRL_C, Terminal, terminal


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_all_with_exit_status_0_the_front_first_and_redis_last(demo: Path, number: int) -> None:
    with run(demo) as this:
        this.wait_for("ready: ")
        pids = this.pids()
        this.process.send_signal(number)
        assert this.process.wait(20) == 0
        cause = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM", signal.SIGHUP: "SIGHUP"}[signal.Signals(number)]
        assert this.lines()[-4:] == [
            f"{cause}: ending all by SIGTERM, the front service first",
            *("demo   | ended", "worker | ended", "redis  | ended"),
        ]
        assert not any(map(is_alive, pids.values()))
        assert this.pids() == dict.fromkeys(NAMES, 0)


@pytest.mark.full
def test_a_signal_before_all_are_ready_ends_the_run_too(demo: Path) -> None:
    replace(demo, "worker: exec", "worker: sleep 60; exec")
    with run(demo) as this:
        wait_until(lambda: listens(this.ports["DEMO_PORT"]))
        this.process.send_signal(signal.SIGINT)
        assert this.process.wait(20) == 0
        assert not any(map(listens, this.ports.values()))


def test_ctrl_c_ends_a_process_that_was_stopped_too(demo: Path) -> None:
    """As `make break HOW=hang` leaves it."""
    with run(demo) as this:
        this.wait_for("ready: ")
        worker = this.pid("worker")
        os.kill(worker, signal.SIGSTOP)
        this.process.send_signal(signal.SIGINT)
        assert this.process.wait(10) == 0
        assert not is_alive(worker)


@pytest.mark.full
def test_a_second_ctrl_c_kills_what_does_not_end(demo: Path) -> None:
    replace(demo, "worker: exec", "worker: trap '' TERM; exec")
    (demo / "server.py").write_text(SERVER.replace("signal.signal(", "sys.argv[-1] == 'x' or signal.signal("))
    replace(demo, "DEMO_WORKER_PORT:-1}", "DEMO_WORKER_PORT:-1} x")
    with run(demo) as this:
        this.wait_for("ready: ")
        worker = this.pid("worker")
        this.process.send_signal(signal.SIGINT)
        this.wait_for("demo   | ended")
        time.sleep(1)  # that it does not end can only be seen by waiting
        assert is_alive(worker)
        this.process.send_signal(signal.SIGINT)
        assert this.process.wait(5) == 0
        assert not is_alive(worker)


def make_in_terminal(folder: Path) -> tuple[AbstractContextManager[Terminal], dict[str, int]]:
    """`make` in a terminal, whose recipe is the run; and its ports."""
    (folder / "Makefile").write_text(f"run:\n\t@{sys.executable} -m common.run demo/Procfile\n")
    ports = {name: free_port() for name in ("DEMO_PORT", "DEMO_WORKER_PORT", "DEMO_REDIS_PORT")}
    return terminal("make", folder=folder, **settings_of(**ports)), ports


def test_ctrl_c_in_a_terminal_ends_make_with_exit_status_0_and_no_error_line(demo: Path) -> None:
    make, ports = make_in_terminal(demo)
    with make as screen:
        screen.wait_for("ready: ")
        screen.press(CTRL_C)
        assert screen.exit_status() == 0
        assert "redis  | \x1b[0mended" in screen.shown
        assert "make" not in screen.shown
        assert not any(map(listens, ports.values()))


def test_a_closed_terminal_ends_everything(demo: Path) -> None:
    make, ports = make_in_terminal(demo)
    with make as screen:
        screen.wait_for("ready: ")
        screen.close()
        os.waitpid(screen.pid, 0)
        assert not any(map(listens, ports.values()))
        assert not list((demo / ".state" / "demo").glob("*.pid"))


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGHUP, marks=pytest.mark.full)])
def test_work_in_flight_is_finished_through_all_services(tmp_path: Path, number: int) -> None:
    """A letter whose digit is being read when the run ends goes into its bin."""
    ports = free_ports("synchronous")
    model = slow_reader(tmp_path / "mlp.onnx")
    settings = {"MODEL_URI": model, "BATCHING": "on", "GRPC_PORT": 0, **ports}
    process = subprocess.Popen(
        [sys.executable, "-m", "common.run", "synchronous/Procfile"],
        cwd=ROOT,
        env=os.environ | settings_of(**settings),
        start_new_session=True,
    )
    front = ports["SYNCHRONOUS_PORT"]
    try:
        with client_of(front, 30) as client, ThreadPoolExecutor(1) as thread:
            wait_until(lambda: process.poll() is not None or answers(f"http://127.0.0.1:{front}/health/ready"))
            headers = {"X-Request-Timeout-Ms": "25000"}
            letter = thread.submit(client.post, "/letters", json=slow_pixels(1.5), headers=headers)
            time.sleep(0.7)
            process.send_signal(number)
            assert letter.result().json()["bin"] == "7"
        assert process.wait(30) == 0
        assert not any(map(listens, ports.values()))
    finally:
        process.kill()
        process.wait()
