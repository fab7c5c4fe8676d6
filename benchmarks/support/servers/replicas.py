"""The ways to deploy web_single that `scaling.py` compares, each started by the commands in web_single's Procfiles."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.support.contestants import OURS_APP
from benchmarks.support.servers.signals import signals_held
from benchmarks.support.servers.start import ROOT, START_SECONDS, ServerError, await_answer, command, end, environment
from tests.support.processes import answers, free_port
from tests.support.replicas import PROCFILE, free_tens


class Setting(NamedTuple):
    """One way to turn the knobs, and when it is the one to turn."""

    name: str
    knobs: dict[str, str]
    processes: int = 1
    balanced: bool = False
    turn: str = ""


NO_BATCHES = {"MAX_BATCH_ROWS": "1"}
SETTINGS = (
    Setting("one process", {}),
    Setting("MODEL_THREADS=2", {"MODEL_THREADS": "2"}, turn="when one inference takes longer than its caller may wait"),
    Setting("MAX_BATCH_ROWS=8", {"MAX_BATCH_ROWS": "8"}, turn="when a full batch takes longer than callers may wait"),
    Setting("MAX_BATCH_ROWS=1", NO_BATCHES, turn="never for speed: only where the model cannot take batches"),
    Setting("MAX_BATCH_ROWS=1, --workers 2", NO_BATCHES, 2, turn="as the next, where batches do not help"),
    Setting("uvicorn --workers 2", {}, 2, turn="when one process has used up its CPU and another is free"),
    Setting("1 replica behind Envoy", {}, 1, True, "the price of the balancer, which shares our CPUs here"),
    Setting("2 replicas behind Envoy", {}, 2, True, "when updates and crashes must go unnoticed; and as above"),
    Setting("3 replicas behind Envoy", {}, 3, True, "when that holds at peak load too; each wants a CPU of its own"),
)
"""The first is what the others are compared to."""


@contextmanager
def serving(setting: Setting, model: Path, folder: Path) -> Iterator[str]:
    """The address at which this setting answers, once it does."""
    port, tens = free_port(), free_tens()
    knobs = environment(model, port) | setting.knobs | {"REPLICA_PORTS": str(tens)}
    for other in ("WEB_SINGLE_GRPC_PORT", "ENVOY_ADMIN_PORT"):
        knobs[other] = str(free_port())
    knobs["REPLICA_GRPC_PORTS"] = str(free_tens())
    with ExitStack() as stack:
        if not setting.balanced:
            one = command(OURS_APP) + (f" --workers {setting.processes}" if setting.processes > 1 else "")
            process = stack.enter_context(started(one, knobs, folder))
        else:
            for number in range(1, setting.processes + 1):
                replica = stack.enter_context(started(PROCFILE[f"web_single-{number}"], knobs, folder))
                await_answer(replica, f"http://127.0.0.1:{tens}{number}/predict", folder / "servers.log")
            process = stack.enter_context(started(PROCFILE["envoy"], knobs, folder))
            await_ready(port)
        await_answer(process, url := f"http://127.0.0.1:{port}/predict", folder / "servers.log")
        yield url


@contextmanager
def started(line: str, knobs: dict[str, str], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A command of a Procfile, on all CPUs, its log in a file."""
    with ExitStack() as stack:
        log = stack.enter_context((folder / "servers.log").open("ab"))
        with signals_held():
            process = subprocess.Popen(
                ("sh", "-c", line), cwd=ROOT, env=knobs, stdout=log, stderr=log, start_new_session=True
            )
            stack.callback(end, process)
        yield process


def await_ready(port: int) -> None:
    """Wait until the balancer has found out who is ready; raises `ServerError`."""
    give_up = time.monotonic() + START_SECONDS
    while not answers(f"http://127.0.0.1:{port}/health/ready"):
        if time.monotonic() > give_up:
            raise ServerError("Envoy finds no replica that is ready")
        time.sleep(0.05)
