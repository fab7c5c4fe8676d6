"""Registers the operations of a Lua file, each as one script that Redis runs as one step."""

from pathlib import Path

from redis.asyncio import Redis
from redis.commands.core import AsyncScript


def register_operation(redis: Redis, file: Path, operation: str, *, frees_memory: bool = True) -> AsyncScript:
    """A script that calls one function of the file with ARGV.

    EVALSHA names a script by its hash, so old and new processes can share a server during an update. Redis Functions
    cannot do that, and Redis refuses to load one when memory is full: it would refuse the code that frees memory.
    The price is that every call creates all functions of the file, which costs about 5 µs of server CPU.
    """
    flags = "allow-oom,no-cluster" if frees_memory else "no-cluster"
    return redis.register_script(f"#!lua flags={flags}\n{file.read_text()}\nreturn {operation}(ARGV)")
