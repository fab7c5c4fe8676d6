"""What a server of several processes uses: CPU time and memory of a process and all that it has started."""

import os
from pathlib import Path
from typing import NamedTuple

TICKS = os.sysconf("SC_CLK_TCK")


class ProcessUse(NamedTuple):
    """What one process has used so far."""

    pid: int
    command: str
    cpu_seconds: float
    resident_mb: float


def process_tree(root: int) -> list[ProcessUse]:
    """A process, its descendants, and the others of its session."""
    fields = {pid: fields for pid in _all_pids() if (fields := _stat(pid))}
    found = {pid for pid, (_, _, session, *_) in fields.items() if root in (pid, int(session))}
    while more := {pid for pid, (_, parent, *_) in fields.items() if int(parent) in found} - found:
        found |= more
    return [_use(pid, fields[pid]) for pid in sorted(found)]


def proportional_mb(pids: list[int]) -> float:
    """Memory of several processes, where what they share counts once."""
    return sum(map(_proportional_mb, pids))


def _all_pids() -> list[int]:
    return [int(folder.name) for folder in Path("/proc").glob("[0-9]*")]


def _stat(pid: int) -> tuple[str, ...]:
    """State, parent, session, utime, stime, resident pages; nothing where it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ()
    return tuple(fields[number] for number in (0, 1, 3, 11, 12, 21))


def _use(pid: int, fields: tuple[str, ...]) -> ProcessUse:
    utime, stime, pages = map(int, fields[3:])
    try:
        command = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").strip()
    except OSError:
        command = ""
    return ProcessUse(pid, command, (utime + stime) / TICKS, pages * os.sysconf("SC_PAGE_SIZE") / 1e6)


def _proportional_mb(pid: int) -> float:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0.0
    return int(text.partition("\nPss:")[2].split()[0]) / 1000
