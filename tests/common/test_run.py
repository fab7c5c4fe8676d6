"""`python -m common.run`: what happens when a process ends, at Ctrl-C, and with a closed terminal."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import pytest

from common.runner.procfile import Procfile
from tests.support.models.onnx_models import slow_pixels, slow_reader
from tests.support.patterns import free_ports
from tests.support.processes import ROOT, answers, free_port, listens, wait_until
from tests.support.service_process import client_of
from tests.support.terminal import CTRL_C, Terminal, terminal

SERVER = """
import signal, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

class Ready(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass

def end(*_):
    print("ended", flush=True)
    sys.exit(0)

signal.signal(signal.SIGTERM, end)
HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Ready).serve_forever()
"""
NAMES = ("demo", "worker", "redis")


class Running:
    """A run of a Procfile, what it has printed so far, and the processes that it started."""

    def __init__(self, folder: Path, process: "subprocess.Popen[bytes]", ports: dict[str, int], output: Path) -> None:
        self.folder, self.process, self.ports, self.output = folder, process, ports, output

    def lines(self) -> list[str]:
        return self.output.read_text().splitlines()

    def wait_for(self, text: str) -> str:
        """The first line with this text."""
        return wait_until(lambda: next((line for line in self.lines() if text in line), ""))

    def pid(self, name: str) -> int:
        """The process id in the pid file, or 0."""
        with suppress(FileNotFoundError, ValueError):
            return int((self.folder / ".state" / "demo" / f"{name}.pid").read_text())
        return 0

    def pids(self) -> dict[str, int]:
        return {name: self.pid(name) for name in NAMES}


def is_alive(pid: int) -> bool:
    """Whether there is such a process, and no zombie."""
    with suppress(FileNotFoundError):
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    return False


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    """A folder with a pattern of three servers."""
    (tmp_path / "demo").mkdir()
    (tmp_path / "server.py").write_text(SERVER)
    command = "exec python server.py --port ${{{}:-1}}"
    commands = {name: command.format("DEMO_PORT" if name == "demo" else f"DEMO_{name.upper()}_PORT") for name in NAMES}
    procfile = "".join(f"{name}: {command}\n" for name, command in commands.items())
    (tmp_path / "demo" / "Procfile").write_text(f"# try: curl 'http://127.0.0.1:${{DEMO_PORT:-1}}/'\n{procfile}")
    return tmp_path


def settings_of(**settings: object) -> dict[str, str]:
    """What a run here finds in its environment."""
    return {"PYTHONPATH": str(ROOT)} | {name: str(value) for name, value in settings.items()}


@contextmanager
def run(folder: Path, **settings: object) -> Iterator[Running]:
    """The run of `demo/Procfile`, on free ports."""
    ports = {name: free_port() for name in ("DEMO_PORT", "DEMO_WORKER_PORT", "DEMO_REDIS_PORT")}
    output = folder / "output"
    with output.open("wb") as out:
        command = [sys.executable, "-m", "common.run", "demo/Procfile"]
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=os.environ | settings_of(**ports | settings),
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    try:
        yield Running(folder, process, ports, output)
    finally:
        process.terminate()
        process.wait(20)
        print(output.read_text())


def replace(folder: Path, old: str, new: str) -> None:
    procfile = folder / "demo" / "Procfile"
    text = procfile.read_text()
    assert old in text
    procfile.write_text(text.replace(old, new))


def test_it_says_where_the_front_service_answers_and_what_to_try(demo: Path) -> None:
    with run(demo) as this:
        port = this.ports["DEMO_PORT"]
        ready = this.wait_for("ready: ")
        assert ready == f"ready: http://127.0.0.1:{port}/  try: curl 'http://127.0.0.1:{port}/'"
        assert answers(f"http://127.0.0.1:{port}/health/ready")
        assert this.lines()[-1] == ready


def test_a_process_that_ends_before_all_are_ready_ends_the_run_with_its_line(demo: Path) -> None:
    replace(demo, "worker: exec", "worker: sleep 0.5; echo 'cannot start, wrong setting: X=1'; exit 3; exec")
    with run(demo) as this:
        assert this.process.wait(20) == 1
        reason = "cannot start, wrong setting: X=1"
        assert this.lines()[-1] == f"worker ended (exit status 3) before all were ready: {reason}"
        assert not any(line.startswith("ready") or "Traceback" in line for line in this.lines())
        assert not any(map(listens, this.ports.values()))


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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_all_with_exit_status_0_the_front_first_and_redis_last(demo: Path, number: int) -> None:
    with run(demo) as this:
        this.wait_for("ready: ")
        pids = this.pids()
        this.process.send_signal(number)
        assert this.process.wait(20) == 0
        assert this.lines()[-3:] == ["demo   | ended", "worker | ended", "redis  | ended"]
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


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing ends the processes of a killed runner")
def test_the_processes_end_with_a_runner_that_is_killed(demo: Path) -> None:
    with run(demo) as this:
        this.wait_for("ready: ")
        pids = this.pids()
        this.process.kill()
        wait_until(lambda: not any(map(is_alive, pids.values())))


def test_a_taken_port_is_one_line_with_the_setting_that_changes_it(demo: Path) -> None:
    with run(demo) as first:
        first.wait_for("ready: ")
        taken = first.ports["DEMO_WORKER_PORT"]
        command = (sys.executable, "-m", "common.run", "demo/Procfile")
        settings = {"DEMO_PORT": free_port(), "DEMO_REDIS_PORT": free_port(), "DEMO_WORKER_PORT": taken}
        second = subprocess.run(
            command, cwd=demo, env=os.environ | settings_of(**settings), capture_output=True, text=True
        )
        assert second.returncode == 1
        assert second.stdout + second.stderr == f"{taken} is taken (is worker running already?): set DEMO_WORKER_PORT\n"
        assert first.process.poll() is None


@pytest.mark.parametrize(
    ("setting", "value"), [("DEMO_PORT", "0"), ("DEMO_PORT", "70000"), ("DEMO_WORKER_PORT", "tcp://10.0.0.1:80")]
)
def test_what_is_no_port_is_one_line_with_the_setting(demo: Path, setting: str, value: str) -> None:
    command = (sys.executable, "-m", "common.run", "demo/Procfile")
    wrong = subprocess.run(
        command, cwd=demo, env=os.environ | settings_of(**{setting: value}), capture_output=True, text=True
    )
    assert wrong.stderr == f"{setting}: expected a port such as 8001, got {value!r}\n"
    assert wrong.returncode == 1


@pytest.mark.parametrize("path", sorted(ROOT.glob("*/Procfile*")), ids=lambda path: str(path.relative_to(ROOT)))
def test_the_ports_of_every_procfile_are_found(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GRPC_PORT", raising=False)
    procfile = Procfile(path)
    assert 8001 <= procfile.front.number <= 8006
    assert {port.process for port in procfile.ports} == {*procfile.commands}


def test_of_several_taken_ports_the_front_service_is_named(demo: Path) -> None:
    procfile = demo / "demo" / "Procfile"
    procfile.write_text("\n".join(reversed(procfile.read_text().splitlines())) + "\n")
    with run(demo) as first:
        first.wait_for("ready: ")
        command = (sys.executable, "-m", "common.run", "demo/Procfile")
        second = subprocess.run(
            command, cwd=demo, env=os.environ | settings_of(**first.ports), capture_output=True, text=True
        )
        taken = first.ports["DEMO_PORT"]
        assert second.stderr == f"{taken} is taken (is demo running already?): set DEMO_PORT\n"


def test_with_a_redis_of_your_own_none_is_started_and_its_port_may_be_taken(demo: Path) -> None:
    with run(demo) as first:
        first.wait_for("ready: ")
        (other := demo / "other").mkdir()
        for name in ("demo", "server.py"):
            (other / name).symlink_to(demo / name)
        taken = first.ports["DEMO_REDIS_PORT"]
        with run(other, REDIS_URL="redis://127.0.0.1/0", DEMO_REDIS_PORT=taken) as second:
            second.wait_for("ready: ")
            assert not second.pid("redis")


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
    settings = {"MODEL_URI": model, "GRPC_PORT": 0, **ports}
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
