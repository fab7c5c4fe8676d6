"""The page at `/`: schedules and runs, their progress live. It asks the same endpoints as every other client."""

from pathlib import Path

from fastapi import FastAPI

from common.playground.serve import PAGE, serve

FOLDER = Path(__file__).parent
FILES = (
    PAGE / "base.css",
    PAGE / "icon.svg",
    PAGE / "drawing.js",
    PAGE / "tabs.js",
    PAGE / "break.js",
    FOLDER / "page.css",
    FOLDER / "page.js",
    FOLDER / "diagram.js",
    FOLDER.parent / "diagram.svg",
)


def add_page(app: FastAPI) -> None:
    """Serve the page. Its files are read once, now: a service that cannot read them does not start."""
    serve(
        app,
        (FOLDER / "page.html").read_bytes(),
        {path.name: path.read_bytes() for path in FILES},
        "page",
        FOLDER.parent,
    )
