"""Servers of one or more processes, all on the server's CPU: started, checked for the right answer, and ended."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnxruntime as ort

from benchmarks.support.load.questions import PIXELS
from benchmarks.support.machine import on_cpus, part_cpus
from benchmarks.support.peers.contestants import Contestant
from benchmarks.support.servers.process_tree import process_tree
from benchmarks.support.servers.signals import signals_held
from benchmarks.support.servers.start import ServerError, end

START_SECONDS = 180.0
"""Ray Serve takes half a minute on one CPU."""
TOLERANCE = 1e-5
"""web_single rounds to six decimals."""


@contextmanager
def running(contestant: Contestant, model: Path, folder: Path, expected: np.ndarray) -> Iterator[tuple[str, int]]:
    """The address of a server that gives the expected probabilities, and the pid of its first process."""
    start = contestant.start(model, folder)
    url = f"http://127.0.0.1:{start.port}{contestant.question.path}"
    with (folder / "log").open("wb") as log:
        with signals_held(), on_cpus(set(range(os.cpu_count() or 1))):
            process = subprocess.Popen(
                start.command, cwd=start.folder, env=start.environment, stdout=log, stderr=log, start_new_session=True
            )
        try:
            await_answer(process, url, contestant, expected, folder / "log")
            pin(process.pid)
            yield url, process.pid
        finally:
            end_all(process)


def pin(root: int) -> None:
    """Keep all threads of a server on its CPU from now on.

    It starts on all CPUs: on one, Ray's start can take longer than Ray waits for it.
    """
    for one in process_tree(root):
        for thread in Path(f"/proc/{one.pid}/task").glob("*"):
            with suppress(ProcessLookupError):
                os.sched_setaffinity(int(thread.name), part_cpus().server)


def await_answer(
    process: subprocess.Popen[bytes], url: str, contestant: Contestant, expected: np.ndarray, log: Path
) -> None:
    """Wait for the right answer; raises `ServerError` where there is none in time.

    A wrong one may come first: a vote without a member that is not ready yet.
    """
    headers = dict(line.split(": ", 1) for line in contestant.question.headers)
    give_up, answer = time.monotonic() + START_SECONDS, "nothing"
    with httpx.Client(headers=headers, timeout=10) as client:
        while process.poll() is None and time.monotonic() < give_up:
            with suppress(httpx.TransportError):
                response = client.post(url, content=contestant.question.body)
                answer = response.text
                if response.status_code == 200 and is_right(response.json(), contestant, expected):
                    return
            time.sleep(0.1)
    raise ServerError(
        f"{contestant.name} answers {answer}, expected {expected.tolist()}; its log ends:\n{log.read_text()[-2000:]}"
    )


def is_right(answer: Any, contestant: Contestant, expected: np.ndarray) -> bool:
    """Whether it holds the probabilities that the model gives, as far as this server can."""
    return not contestant.answers_right or np.allclose(probabilities_in(answer), expected, atol=TOLERANCE)


def probabilities_in(answer: Any) -> Any:
    """Ten probabilities, wherever a server has put them."""
    if isinstance(answer, list):
        return answer[0]  # BentoML: a row for each picture
    if "outputs" in answer:
        return answer["outputs"][0]["data"]  # Open Inference Protocol
    return answer["probabilities"]


def expected_probabilities(*models: Path) -> np.ndarray:
    """What the models say of the picture: the mean of their probabilities, (10,)."""
    sessions = [ort.InferenceSession(model, providers=["CPUExecutionProvider"]) for model in models]
    rows = [one.run(["probabilities"], {"features": PIXELS[None]})[0][0] for one in sessions]
    mean: np.ndarray = np.mean(rows, axis=0)
    return mean


def end_all(process: subprocess.Popen[bytes]) -> None:
    """End the first process, which ends the others, and kill what it leaves."""
    started = process_tree(process.pid)
    end(process)
    for one in started:
        with suppress(ProcessLookupError):
            os.kill(one.pid, signal.SIGKILL)
