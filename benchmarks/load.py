"""The load: wrk on its own CPU sends one picture over and over, as quickly as the answers come back.

An answer that is no success, or a socket error, is no figure: it ends the benchmark.
"""

import json
import subprocess
from pathlib import Path

from pydantic import BaseModel

from common.digits import EXAMPLE

SCRIPT = Path(__file__).parent / "predict.lua"
PICTURE = json.dumps(EXAMPLE)


class LoadError(Exception):
    """Requests failed."""


class Load(BaseModel):
    """What wrk counted; `errors` is by kind, and zero."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    errors: dict[str, int]


def load(url: str, connections: int, seconds: int) -> Load:
    """Send pictures over `connections` connections for whole `seconds`; raises `LoadError`.

    It runs on the CPUs of the thread that calls.
    """
    command = ("wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout=10s", f"-s{SCRIPT}", url, "--", PICTURE)
    done = subprocess.run(command, capture_output=True, text=True)
    lines = done.stdout.splitlines()
    if done.returncode != 0 or not lines or not lines[-1].startswith("{"):
        raise LoadError(f"wrk failed ({done.returncode}): {done.stderr or done.stdout}")
    result = Load.model_validate_json(lines[-1])
    failed = {kind: count for kind, count in result.errors.items() if count}
    if failed or not result.requests:
        raise LoadError(f"{url} with {connections} connections: errors {failed} beside {result.requests} answers")
    return result
