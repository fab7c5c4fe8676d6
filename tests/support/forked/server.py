"""Forks services whose libraries are imported already, for `services.py`: `python -m tests.support.forked.server`.

A service needs most of its start for `import fastapi` and the like, and the tests start hundreds. Each fork does what a
command says, in a session of its own, with its own environment: uvicorn imports the app and serves. Requests are lines
of JSON, one at a time: a service to start, answered by its pid, or a pid, answered by the exit code once it has ended.
"""

import gc
import json
import os
import signal
import sys
from typing import Any

import aiohttp  # noqa: F401 - these are what is imported ahead
import fastapi.sse  # noqa: F401
import grpc.aio  # noqa: F401
import grpc_health.v1.health_pb2  # noqa: F401
import httptools  # noqa: F401
import onnxruntime  # noqa: F401
import PIL.Image
import prometheus_client  # noqa: F401
import pydantic_settings  # noqa: F401
import redis.asyncio  # noqa: F401
import starlette.middleware  # noqa: F401
import uvicorn.main
import uvloop  # noqa: F401

import common  # noqa: F401


def main() -> None:
    """Until the tests hang up."""
    PIL.Image.preinit()
    gc.freeze()
    print("ready", flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if isinstance(request, int):
            print(os.waitstatus_to_exitcode(os.waitpid(request, 0)[1]), flush=True)
        elif pid := os.fork():
            print(pid, flush=True)
        else:
            serve(**request)


def serve(arguments: list[str], environment: dict[str, str], folder: str, log: str, cpus: list[int]) -> Any:
    """Be the service, to the end of this process."""
    os.setsid()
    os.sched_setaffinity(0, cpus)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    nothing = os.open(os.devnull, os.O_RDONLY)
    written = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(nothing, 0)
    os.dup2(written, 1)
    os.dup2(written, 2)
    sys.argv = ["uvicorn", *arguments]
    sys.exit(uvicorn.main.main())


if __name__ == "__main__":
    main()
