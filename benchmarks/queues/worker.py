"""Becomes the worker of a queue: `python -m benchmarks.queues.worker MODULE`."""

import os
import sys
from importlib import import_module

if __name__ == "__main__":
    command = import_module(f"benchmarks.queues.{sys.argv[1]}").WORKER
    os.execvp(command[0], command)
