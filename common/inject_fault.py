"""Breaks a service that runs here, and heals it: `make break SERVICE=synchronous-predictor HOW=hang`.

It finds the process that `make PATTERN` started, by `.state/PATTERN/NAME.pid`, or else the container that
`docker compose up PATTERN` started. The last part of a service's name is enough where no other service has it.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

from common.runner.terminal import own_foreground

HOWS = {
    "kill": "ends at once, without finishing anything; the runner starts it again, Docker does not",
    "hang": "stands still, and keeps its connections open",
    "slow": "stands still for most of each third of a second, until Ctrl-C",
    "heal": "goes on; a killed container is started again",
}
SIGNALS = {"kill": signal.SIGKILL, "hang": signal.SIGSTOP, "heal": signal.SIGCONT}
STILL_SECONDS, AWAKE_SECONDS = 0.27, 0.03
FREEZE_ATTEMPTS = 5
"""On a busy machine `docker pause` gives up where a process, such as a health check, begins at that moment."""

Inject = Callable[[str], object]
"""Does `kill`, `hang` or `heal` to one service."""


def processes() -> Iterator[tuple[str, Inject]]:
    """The services that `make PATTERN` started, by the names that Compose gives them."""
    for file in sorted(Path(".state").glob("*/*.pid")):
        pattern, name = file.parent.name, file.stem
        with suppress(ValueError, ProcessLookupError):
            process = int(file.read_text())
            if os.getsid(process) == process:  # the file of a run that was killed may name another's process by now
                is_whole = name == pattern or name.startswith(f"{pattern}-")  # of several replicas, "web_single-1"
                yield name if is_whole else f"{pattern}-{name}", partial(_signal, process)


def containers() -> Iterator[tuple[str, Inject]]:
    """The services that `docker compose up PATTERN` started."""
    with suppress(OSError, subprocess.CalledProcessError):
        command = ["docker", "compose", "ps", "--all", "--format=json"]
        listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        services: dict[str, list[dict[str, str]]] = {}
        for container in map(json.loads, listed.splitlines()):
            services.setdefault(container["Service"], []).append(container)  # several, with --scale
        for service, found in services.items():
            yield service, partial(_command, [container["Name"] for container in found], found[0]["State"])


def find(service: str) -> tuple[str, Inject]:
    """The service of this name, or ending in it; ends the process with one line if it is not exactly one."""
    running = running_services()
    found = [name for name in running if name == service] or [name for name in running if name.endswith(f"-{service}")]
    if len(found) != 1:
        sys.exit(_expected_service(service, running))
    return found[0], running[found[0]]


def running_services() -> dict[str, Inject]:
    """All of them; a process before a container of the same name."""
    return dict(containers()) | dict(processes())


def slow_down(inject: Inject) -> None:
    """Hang and heal in turn, until Ctrl-C or the end. A closed terminal does not leave it hung, either."""
    for ending in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(ending) is not signal.SIG_IGN:  # as under nohup
            signal.signal(ending, signal.default_int_handler)
    try:
        with own_foreground() as is_closed, suppress(KeyboardInterrupt):
            while not is_closed():
                inject("hang")
                time.sleep(STILL_SECONDS)
                inject("heal")
                time.sleep(AWAKE_SECONDS)
        inject("heal")
    except ProcessLookupError:
        sys.exit("it has ended")


def main(service: str, how: str) -> None:
    """Break or heal the service."""
    if how not in HOWS:
        expected = f"HOW={how}: expected " + "; ".join(f"{name} ({what})" for name, what in HOWS.items())
        sys.exit(expected if service else f"{_expected_service(service, running_services())}\n{expected}")
    name, inject = find(service)
    print(f"{name}: {HOWS[how]}", file=sys.stderr)
    if how == "slow":
        slow_down(inject)
    else:
        inject(how)


def _expected_service(service: str, running: dict[str, Inject]) -> str:
    names = ", ".join(sorted(running)) or "nothing: start a pattern first, as with `make synchronous`"
    return f"SERVICE={service}: expected the name of one service that runs here; running: {names}"


def _signal(group: int, how: str) -> None:
    os.killpg(group, SIGNALS[how])


def _command(containers: list[str], state: str, how: str) -> None:
    heal = "start" if state == "exited" else "unpause"
    command = {"kill": "kill", "hang": "pause", "heal": heal}[how]
    # Not `docker compose`, which takes a quarter of a second to read its files: what is slow would mostly be awake.
    for _ in range(FREEZE_ATTEMPTS):
        done = subprocess.run(["docker", command, *containers], capture_output=True, text=True)
        if "unable to freeze" not in done.stderr:
            break
    if done.returncode and how != "heal":  # what is not broken cannot be healed, and need not be
        sys.exit(done.stderr.strip())


if __name__ == "__main__":
    main(*sys.argv[1:])
