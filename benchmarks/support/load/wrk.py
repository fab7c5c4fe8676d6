"""The load on its own CPU sends one picture over and over, as quickly as the answers come back.

Over HTTP it is wrk, over gRPC `grpc.py`. An answer that is no success, or a socket error, is no figure: it ends
the benchmark.
"""

import subprocess
import sys
from pathlib import Path

from pydantic import BaseModel

from benchmarks.support.load.questions import PREDICT, Question

SCRIPT = Path(__file__).parent / "predict.lua"


class LoadError(Exception):
    """Requests failed."""


class Load(BaseModel):
    """What was counted; `errors` is by kind, and zero."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    errors: dict[str, int]


def load(url: str, connections: int, seconds: int, question: Question = PREDICT) -> Load:
    """Ask a question over `connections` connections for whole `seconds`; raises `LoadError`.

    It runs on the CPUs of the thread that calls.
    """
    generator = grpc_command if question.over_grpc else wrk_command
    done = subprocess.run(generator(url, connections, seconds, question), capture_output=True, text=True)
    lines = done.stdout.splitlines()
    if done.returncode != 0 or not lines or not lines[-1].startswith("{"):
        raise LoadError(f"the load on {url} failed ({done.returncode}): {done.stderr or done.stdout}")
    result = Load.model_validate_json(lines[-1])
    failed = {kind: count for kind, count in result.errors.items() if count}
    if failed or not result.requests:
        raise LoadError(f"{url} with {connections} connections: errors {failed} beside {result.requests} answers")
    return result


def wrk_command(url: str, connections: int, seconds: int, question: Question) -> tuple[str, ...]:
    """The load over HTTP."""
    options = ("-t1", f"-c{connections}", f"-d{seconds}s", "--timeout=10s", f"-s{SCRIPT}")
    return ("wrk", *options, url, "--", question.body.hex(), *question.headers)


def grpc_command(url: str, connections: int, seconds: int, question: Question) -> tuple[str, ...]:
    """The load over gRPC."""
    module = (sys.executable, "-m", "benchmarks.support.load.grpc")
    return (*module, url, str(connections), str(seconds), question.body.hex())
