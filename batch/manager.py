"""The manager: starts jobs by rules, or at once, and knows what has become of each. It never predicts.

It may be away: what is due then is caught up as the schedule says. It may be killed during a run: the job goes on to
its end, and the manager that is started next follows it. When it is told to end it ends its jobs, and the next takes
them up. Without its registry it answers 503.
"""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

from fastapi import APIRouter, FastAPI, Request, Response

from batch.data_root import DataRoot
from batch.endpoints import add_runs, add_schedules
from batch.launchers.process import Launcher, ProcessLauncher
from batch.page.serve import add_page
from batch.scheduling.control_loop import Runner
from batch.scheduling.registry import Registry
from batch.settings import ManagerSettings
from common.service.problems import MEDIA_TYPE, Problem
from common.service.service import Service


def create_app(settings: ManagerSettings | None = None) -> FastAPI:
    """The manager: `uvicorn batch.manager:create_app --factory`."""
    settings = settings or ManagerSettings.from_environment()
    app = Service("batch", settings)
    root, registry = DataRoot(settings.data_root), Registry(settings.manager_database)
    hold(app, registry)
    Runner(app, registry, launcher(settings), root, settings)
    router = APIRouter()
    add_schedules(router, registry, root)
    add_runs(router, registry, root)
    app.include_router(router)
    add_page(app)
    return app


def launcher(settings: ManagerSettings) -> Launcher:
    """What jobs run in; the manager does not care which of the two it is."""
    if settings.launcher == "docker":
        from batch.launchers.docker_container import DockerLauncher

        return DockerLauncher(settings)
    return ProcessLauncher(settings.manager_database.parent / "jobs")


def hold(app: Service, registry: Registry) -> None:
    """Keep the registry open while the app runs, and say so when it does not answer."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[None]:
        with closing(registry):
            yield

    async def no_registry(_: Request, error: Exception) -> Response:
        problem = Problem(503, f"the registry does not answer: {error}", {"Retry-After": "1"})
        return Response(problem.document(), problem.status_code, problem.headers, MEDIA_TYPE)

    async def answers() -> bool:
        try:
            return registry.counts() is not None
        except sqlite3.Error:
            return False

    app.add_lifespan(opened)
    app.add_check(answers)
    app.add_exception_handler(sqlite3.Error, no_registry)
