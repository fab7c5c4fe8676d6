"""The servers that the queue runs on: Valkey 9 from its wheel, Debian's Redis 7.0, and Redis 8 in Docker.

Each is set as the patterns set theirs: an append-only file, and no eviction.
"""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import pytest
from redis import Redis, RedisError

from tests.support.processes import ROOT, free_port, output_of, running, wait_until

OPTIONS = (
    *("--appendonly", "yes", "--appendfsync", "always", "--save", ""),
    *("--maxmemory", "256mb", "--maxmemory-policy", "noeviction", "--hash-max-listpack-value", "512"),
)
IMAGE = "redis:8-alpine"
OTHERS = [
    pytest.param("redis-7", marks=pytest.mark.redis_server),
    pytest.param("redis-8", marks=pytest.mark.docker),
]
"""All but Valkey, which every machine has."""


class RedisServer:
    """One that can be killed and come back, on the same port, with what it kept."""

    def __init__(self, port: int, begin: Callable[[], None], kill: Callable[[], None], client: Redis) -> None:
        self.port = port
        self.url = f"redis://127.0.0.1:{port}/0"
        self.begin, self.kill = begin, kill
        self.client = client

    def answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except RedisError:
            return False


@contextmanager
def redis_server(kind: str) -> Iterator[RedisServer]:
    """A server of this kind (`valkey`, `redis-7`, `redis-8`) on a free port, once it answers."""
    port = free_port()
    with TemporaryDirectory() as folder, ExitStack() as stack, Redis(port=port, socket_timeout=5.0) as client:
        make = _contained if kind == "redis-8" else _as_process
        begin, kill = make(kind, port, Path(folder), stack)
        server = RedisServer(port, begin, kill, client)
        begin()
        wait_until(server.answers)
        yield server


Controls = tuple[Callable[[], None], Callable[[], None]]


def _as_process(kind: str, port: int, folder: Path, stack: ExitStack) -> Controls:
    listen = ("--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder))
    command = {
        "valkey": (sys.executable, "-m", "common.jobs.run_valkey", str(port), str(folder), "--loglevel", "warning"),
        "redis-7": ("redis-server", *listen, *OPTIONS, "--loglevel", "warning"),
    }[kind]
    processes: list[subprocess.Popen[bytes]] = []

    def begin() -> None:
        processes.append(stack.enter_context(running(*command, folder=ROOT)))

    def kill() -> None:
        processes[-1].send_signal(signal.SIGKILL)
        processes[-1].wait()

    return begin, kill


def _contained(kind: str, port: int, folder: Path, stack: ExitStack) -> Controls:
    name = f"test-{kind}-{uuid4().hex[:8]}"
    listen = ("--port", str(port), "--bind", "127.0.0.1")  # on the host's network, so that a pair finds each other
    output_of("docker", "create", "--name", name, "--network=host", IMAGE, "redis-server", *listen, *OPTIONS)
    stack.callback(output_of, "docker", "rm", "--force", "--volumes", name)
    return (
        lambda: print(output_of("docker", "start", name)),
        lambda: print(output_of("docker", "kill", name)),
    )
