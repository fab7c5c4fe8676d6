"""A command in a terminal of its own, as a person starts it: Ctrl-C, and the closing of the window."""

import os
import pty
import select
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

CTRL_C = b"\x03"


class Terminal:
    """The terminal's end that a person sees."""

    def __init__(self, pid: int, screen: int) -> None:
        self.pid, self.screen, self.shown = pid, screen, ""

    def wait_for(self, text: str, seconds: float = 60.0) -> str:
        """All that was shown once this text is among it."""
        end = time.monotonic() + seconds
        while text not in self.shown:
            assert time.monotonic() < end, self.shown
            if select.select([self.screen], [], [], 0.1)[0]:
                try:
                    self.shown += os.read(self.screen, 65_536).decode(errors="replace")
                except OSError:  # all processes in the terminal have ended
                    raise AssertionError(self.shown) from None
        return self.shown

    def press(self, keys: bytes) -> None:
        os.write(self.screen, keys)

    def exit_status(self) -> int:
        """The command's, once it has ended; what is shown until then is in `shown`."""
        with suppress(OSError):
            while data := os.read(self.screen, 65_536):
                self.shown += data.decode(errors="replace")
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def close(self) -> None:
        """Close the window."""
        os.close(self.screen)
        self.screen = -1


@contextmanager
def terminal(*command: str, folder: Path, **environment: str) -> Iterator[Terminal]:
    """This command, started in a terminal, which is closed at the end."""
    pid, screen = pty.fork()
    if not pid:
        os.chdir(folder)
        os.execvpe(command[0], command, os.environ | environment)
    shown = Terminal(pid, screen)
    try:
        yield shown
    finally:
        print(shown.shown)
        if shown.screen >= 0:
            shown.close()
