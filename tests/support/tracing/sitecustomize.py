"""Records the files that a process and its children run through: for a folder on PYTHONPATH, which Python looks in.

Each process appends them to a file of its own in TRACE_FOLDER, at once, since it may be killed. Running the top level
of a module does not count.
"""

import os
import sys
import threading
from pathlib import Path
from types import FrameType

seen: set[str] = set()
record_file = Path(os.environ["TRACE_FOLDER"]) / str(os.getpid())


def record(frame: FrameType, event: str, argument: object) -> None:
    code = frame.f_code
    if code.co_filename not in seen and code.co_name != "<module>":
        seen.add(code.co_filename)
        with record_file.open("a") as file:
            print(code.co_filename, file=file)


threading.setprofile(record)
sys.setprofile(record)
