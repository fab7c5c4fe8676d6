"""What a Procfile says: commands by name, the ports on which they listen, and a command to try."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

SIMILAR = 0.88
"""From this likeness (0 to 1) on, a variable is taken for a mistyped setting: a letter or two differ."""
REDIS = "redis"
"""The process that starts first and ends last. Where REDIS_URL is set it is not started: the others use that server."""
LISTENS = re.compile(r"(?:--port |_PORT=|port_value: |run_valkey )(\$\{(\w+)[^\s/\\]*+)(?!\\)")
"""A port in a command, and the setting that changes it; not one whose last digit a `sed` in the command fills in."""


class Port(NamedTuple):
    """A port on which a process listens, and the setting that changes it."""

    process: str
    setting: str
    number: int

    def is_open(self) -> bool:
        """Whether a server listens on it now."""
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.number)) == 0

    def check_free(self) -> None:
        """Exit with one line where it is taken."""
        with socket.socket() as server:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: closed connections may linger
            try:
                server.bind(("127.0.0.1", self.number))
            except OSError:
                sys.exit(f"{self.number} is taken (is {self.process} running already?): set {self.setting}")


class Procfile:
    """The processes of a pattern. The front service is the one whose port is set by PATTERN_PORT."""

    def __init__(self, path: Path) -> None:
        self.pattern, text = path.resolve().parent.name, path.read_text()
        self.commands: dict[str, str] = dict(re.findall(r"^([\w-]+): (.+)$", text, re.MULTILINE))
        if os.environ.get("REDIS_URL"):
            self.commands.pop(REDIS, None)
        found = [(name, *match) for name, command in self.commands.items() for match in LISTENS.findall(command)]
        front = f"{self.pattern.upper()}_PORT"
        ports = [
            Port(name, setting, _port(_expand(word), setting, int(setting == front))) for name, word, setting in found
        ]
        self.ports = [port for port in ports if port.number]
        fronts = [port for port in self.ports if port.setting == front]
        if not fronts:
            sys.exit(f"{path}: expected a command with `--port ${{{front}:-NUMBER}}`")
        self.front = fronts[0]
        self.ports.sort(key=lambda port: port != self.front)  # the one that a user knows is checked first
        neighbours = "".join(file.read_text() for file in path.resolve().parent.parent.glob("*/Procfile*"))
        self._settings = set(re.findall(r"\$\{(\w+)", text + neighbours))
        self.hint = _expand("".join(re.findall(r"^# (try: .+)$", text, re.MULTILINE)[:1]))

    def find_mistyped(self) -> Iterator[str]:
        """A sentence for each variable of the environment that is nearly a setting in a Procfile."""
        for variable in sorted(os.environ.keys() - self._settings):
            for setting in get_close_matches(variable, self._settings, 1, SIMILAR):
                yield f"{variable} is no setting, and is ignored: is {setting} meant?"


def _port(text: str, setting: str, least: int) -> int:
    """The number of a port; 0 (or nothing) for none, where that is allowed. Exits with one line where it is no port."""
    number = int(text or 0) if text.isdecimal() or not text else -1
    if not least <= number < 2**16:
        sys.exit(f"{setting}: expected a port such as 8001, got {text!r:.40}")
    return number


def _expand(text: str) -> str:
    """The text with the shell's `${NAME:-default}` replaced."""
    return subprocess.run(["sh"], input=f"cat <<END\n{text}\nEND\n", capture_output=True, text=True).stdout.strip()
