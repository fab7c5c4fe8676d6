"""The page at `/`: schedules and runs, their progress live. It asks the same endpoints as every other client."""

from pathlib import Path

from fastapi import FastAPI

from batch.command_line import Engine
from batch.engines.installed import PACKAGES, EngineMissing
from batch.launchers.launcher import Launcher
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


def add_page(app: FastAPI, launcher: Launcher) -> None:
    """Serve the page. Its files are read once, now: a service that cannot read them does not start.

    `/page/engines` lists the engines that jobs do not have, each with where it is.
    """

    def missing_engines() -> dict[Engine, str]:
        return {engine: reason for engine in PACKAGES if (reason := why_missing(launcher, engine))}

    app.get("/page/engines", include_in_schema=False)(missing_engines)  # before the files of the page, under /page/ too
    serve(
        app,
        (FOLDER / "page.html").read_bytes(),
        {path.name: path.read_bytes() for path in FILES},
        "page",
        FOLDER.parent,
    )


def why_missing(launcher: Launcher, engine: Engine) -> str | None:
    """Where the engine is, if jobs do not have it."""
    try:
        launcher.require_engine(engine)
    except EngineMissing as error:
        return str(error)
    return None
