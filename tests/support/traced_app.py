"""A pattern's app that records the files that it runs through: `uvicorn tests.support.traced_app:create_app --factory`.

TRACED_APP names the app, such as `synchronous.proxy:create_app`; `GET /traced-files` returns the files.
"""

import os
import sys
import threading
from importlib import import_module
from types import FrameType

from fastapi import FastAPI


def create_app() -> FastAPI:
    """The app, imported before the recording begins: running a module's top level does not count."""
    module, _, function = os.environ["TRACED_APP"].partition(":")
    create = getattr(import_module(module), function)
    files: set[str] = set()

    def record(frame: FrameType, event: str, argument: object) -> None:
        if frame.f_code.co_name != "<module>":
            files.add(frame.f_code.co_filename)

    threading.setprofile(record)
    sys.setprofile(record)
    app: FastAPI = create()

    @app.get("/traced-files")
    async def get_traced_files() -> list[str]:
        return sorted(files)

    return app
