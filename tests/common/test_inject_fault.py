"""`python -m common.inject_fault SERVICE HOW`: what happens to the process that the runner started.

That it finds containers too, the blocks "Break it" of the READMEs show.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import ROOT, wait_until
from tests.support.terminal import CTRL_C, terminal


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that a runner might have started in this folder, and its file."""
    (tmp_path / ".state" / "demo").mkdir(parents=True)
    process = subprocess.Popen(["sleep", "60"], start_new_session=True)
    (tmp_path / ".state" / "demo" / "worker.pid").write_text(f"{process.pid}\n")
    yield process
    process.kill()
    process.wait()


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "common.inject_fault", *arguments]
    environment = {"PATH": "", "PYTHONPATH": str(ROOT)}  # no docker
    return subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)


def inject(folder: Path, *arguments: str) -> tuple[int, str]:
    """The exit status, and what it says."""
    process = start(folder, *arguments)
    _, said = process.communicate(timeout=20)
    return process.returncode, said


def state(process: subprocess.Popen[bytes]) -> str:
    """`S`: it sleeps; `T`: it is stopped."""
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]


@pytest.mark.parametrize("service", ["demo-worker", "worker"])
def test_service_hangs_until_it_is_healed_and_then_is_killed(
    worker: subprocess.Popen[bytes], tmp_path: Path, service: str
) -> None:
    assert inject(tmp_path, service, "hang")[0] == 0
    wait_until(lambda: state(worker) == "T")
    assert inject(tmp_path, service, "heal")[0] == 0
    wait_until(lambda: state(worker) == "S")
    status, said = inject(tmp_path, service, "kill")
    assert status == 0
    assert said.startswith("demo-worker: ends at once")
    assert worker.wait(10) == -signal.SIGKILL


@pytest.mark.parametrize(
    "ending", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=["ctrl-c", "kill", "closed-terminal"]
)
def test_slow_service_stands_still_most_of_the_time_until_it_is_ended_and_is_never_left_hung(
    worker: subprocess.Popen[bytes], tmp_path: Path, ending: signal.Signals
) -> None:
    slow = start(tmp_path, "worker", "slow")
    for expected in ("T", "S", "T"):
        wait_until(lambda expected=expected: state(worker) == expected)  # type: ignore[misc]
    slow.send_signal(ending)
    assert slow.wait(10) == 0
    wait_until(lambda: state(worker) == "S")
    assert slow.stderr
    slow.stderr.close()


def test_ctrl_c_ends_make_break_slow_as_it_should_and_a_closed_terminal_ends_it_too(
    worker: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    """`make` would report the interrupt that it got itself as an error."""
    command = ("make", f"--file={ROOT / 'Makefile'}", "break", "SERVICE=worker", "HOW=slow", f"PYTHON={sys.executable}")
    for end in ("ctrl-c", "closed"):
        with terminal(*command, folder=tmp_path, PYTHONPATH=str(ROOT)) as shown:
            wait_until(lambda: state(worker) == "T")
            if end == "ctrl-c":
                shown.press(CTRL_C)
                assert shown.exit_status() == 0
                assert "***" not in shown.shown
            else:
                shown.close()
                os.waitpid(shown.pid, 0)
        wait_until(lambda: state(worker) == "S")


def test_a_pause_at_which_docker_gave_up_is_tried_again(tmp_path: Path) -> None:
    """Of a busy machine's Docker: a command of its name that gives up at the first pause."""
    docker = tmp_path / "docker"
    docker.write_text(
        "#!/bin/sh\n"
        """[ $1 = compose ] && echo '{"Service": "demo", "Name": "demo-1", "State": "running"}' && exit\n"""
        "[ -e tried ] && exit\n"
        ">tried; echo 'OCI runtime pause failed: unable to freeze: unknown' >&2; exit 1\n"
    )
    docker.chmod(0o755)
    command = [sys.executable, "-m", "common.inject_fault", "demo", "hang"]
    environment = {"PATH": str(tmp_path), "PYTHONPATH": str(ROOT)}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, timeout=30)
    assert (tmp_path / "tried").exists()


def test_slowing_a_service_down_ends_with_the_service(worker: subprocess.Popen[bytes], tmp_path: Path) -> None:
    slow = start(tmp_path, "worker", "slow")
    wait_until(lambda: state(worker) == "T")
    worker.kill()
    worker.wait(10)
    _, said = slow.communicate(timeout=20)
    assert said.splitlines()[1:] == ["it has ended"]


def test_replica_has_the_name_that_compose_gives_it(worker: subprocess.Popen[bytes], tmp_path: Path) -> None:
    (tmp_path / ".state" / "demo" / "demo-1.pid").write_text(f"{worker.pid}\n")
    for service in ("demo-1", "1"):
        assert inject(tmp_path, service, "heal")[1].startswith("demo-1: ")


def test_without_a_service_and_a_fault_it_lists_what_runs_and_the_faults(
    worker: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    status, said = inject(tmp_path, "", "")
    assert status == 1
    running, faults = said.splitlines()
    assert running.endswith("running: demo-worker")
    assert all(word in faults for word in ("kill", "hang", "slow", "heal"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nothing", "kill"], ["SERVICE=nothing", "demo-worker"]),
        (["worker", "hug"], ["HOW=hug", "kill", "hang", "slow", "heal"]),
    ],
)
def test_wrong_name_or_fault_is_one_line_that_says_what_there_is(
    worker: subprocess.Popen[bytes], tmp_path: Path, arguments: list[str], words: list[str]
) -> None:
    status, said = inject(tmp_path, *arguments)
    assert (status, said.count("\n")) == (1, 1)
    assert all(word in said for word in words)
    assert state(worker) == "S"
