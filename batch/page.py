"""The page at `/`: schedules and runs, their progress live. It asks the same endpoints as every other client."""

from pathlib import Path

from fastapi import FastAPI, Response

from common.errors import Problem
from common.playground import HEADERS, MEDIA_TYPES, PAGE

FOLDER = Path(__file__).parent
FILES = (FOLDER / "page.css", FOLDER / "page.js", PAGE / "icon.svg")


def add_page(app: FastAPI) -> None:
    """Serve it; the files are read now, once: a service that cannot read them shall not start."""
    page = (FOLDER / "page.html").read_bytes()
    files = {path.name: path.read_bytes() for path in FILES}

    async def index() -> Response:
        return Response(page, 200, HEADERS, MEDIA_TYPES[".html"])

    async def file(name: str) -> Response:
        if name not in files:
            raise Problem(404, f"/page/{name}: the page has no such file")
        return Response(files[name], 200, HEADERS, MEDIA_TYPES[Path(name).suffix])

    app.get("/", include_in_schema=False)(index)
    app.get("/page/{name}", include_in_schema=False)(file)
