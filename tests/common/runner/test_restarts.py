"""`python -m common.run`: the line that says where to look, and what happens when a process ends."""

import os
import signal
import sys
from pathlib import Path

import pytest

from tests.support.processes import answers, listens, wait_until
from tests.support.runner.demo import is_alive, replace, run


def test_it_says_where_the_front_service_answers_and_what_to_try(demo: Path) -> None:
    with run(demo) as this:
        port = this.ports["DEMO_PORT"]
        ready = this.wait_for("ready: ")
        assert ready == f"ready: http://127.0.0.1:{port}/  try: curl 'http://127.0.0.1:{port}/'"
        assert answers(f"http://127.0.0.1:{port}/health/ready")
        assert this.lines()[-1] == ready


def test_a_process_that_ends_before_all_are_ready_ends_the_run_and_says_why_once(demo: Path) -> None:
    replace(demo, "worker: exec", "worker: sleep 0.5; echo 'cannot start, wrong setting: X=1'; exit 3; exec")
    with run(demo) as this:
        assert this.process.wait(20) == 1
        assert this.lines()[-1] == "worker ended (exit status 3) before all were ready"
        assert [line for line in this.lines() if "X=1" in line] == ["worker | cannot start, wrong setting: X=1"]
        assert not any(line.startswith("ready") or "Traceback" in line for line in this.lines())
        assert not any(map(listens, this.ports.values()))


def test_a_mistyped_setting_is_warned_of_once_by_the_runner_and_all_processes(demo: Path) -> None:
    sentence = "{0}_PROT is no setting, and is ignored: is {0}_PORT meant?"
    for name in ("demo", "worker"):
        replace(demo, f"{name}: exec", f"{name}: echo '{sentence.format('DEMO')}'; echo '{sentence.format('X')}'; exec")
    with run(demo, DEMO_PROT=1) as this:
        this.wait_for("ready: ")
        assert [line for line in this.lines() if "DEMO_PROT" in line] == [f"warning: {sentence.format('DEMO')}"]
        assert len([line for line in this.lines() if "X_PROT" in line]) == 1


def test_a_killed_process_is_started_again_and_the_others_go_on(demo: Path) -> None:
    with run(demo) as this:
        this.wait_for("ready: ")
        before = this.pids()
        assert all(map(is_alive, before.values()))
        os.kill(before["worker"], signal.SIGKILL)
        assert this.wait_for("starts again") == "worker | ended (SIGKILL), starts again in 1 s"
        wait_until(lambda: this.pid("worker") not in (0, before["worker"]) and listens(this.ports["DEMO_WORKER_PORT"]))
        assert this.pids() == before | {"worker": this.pid("worker")}
        os.kill(this.pid("demo"), signal.SIGKILL)
        this.wait_for("demo   | ended (SIGKILL), starts again in 1 s")
        wait_until(lambda: listens(this.ports["DEMO_PORT"]))
        assert this.process.poll() is None


@pytest.mark.full
def test_a_process_that_ends_again_and_again_waits_longer_each_time(demo: Path) -> None:
    replace(demo, "worker: exec", "worker: [ ! -e broken ] || exit 1; exec")
    with run(demo) as this:
        this.wait_for("ready: ")
        (demo / "broken").touch()
        os.kill(this.pid("worker"), signal.SIGKILL)
        for seconds in (1, 2, 4):
            this.wait_for(f"starts again in {seconds} s")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing ends the processes of a killed runner")
def test_the_processes_end_with_a_runner_that_is_killed(demo: Path) -> None:
    with run(demo) as this:
        this.wait_for("ready: ")
        pids = this.pids()
        this.process.kill()
        wait_until(lambda: not any(map(is_alive, pids.values())))
