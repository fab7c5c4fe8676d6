"""The manager: starts jobs at due times or on request, and records what becomes of each. It never predicts.

If it is away, missed due times are caught up as the schedule says. If it is killed, its jobs go on and the next
manager follows them. When it is stopped it stops its jobs, and the next manager resumes them. Without its registry it
answers 503.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Response

from batch.data_root import DataRoot
from batch.endpoints.runs import run_endpoints
from batch.endpoints.schedules import schedule_endpoints
from batch.launchers.launcher import Launcher
from batch.launchers.process import ProcessLauncher
from batch.page.serve import add_page
from batch.registry.database import RegistryUnavailable
from batch.registry.registry import Registry
from batch.scheduling.control_loop import ControlLoop
from batch.settings import ManagerSettings
from common.service.problems import MEDIA_TYPE, Problem
from common.service.service import Service


def create_app(settings: ManagerSettings | None = None) -> FastAPI:
    """The manager: `uvicorn batch.manager:create_app --factory`."""
    settings = settings or ManagerSettings.from_environment()
    app = Service("batch", settings)
    root, registry = DataRoot(settings.data_root), Registry(settings.manager_database)
    add_registry(app, registry)
    launcher = create_launcher(settings)
    ControlLoop(app, registry, launcher, root, settings)
    app.include_router(schedule_endpoints(registry, root, launcher))
    app.include_router(run_endpoints(registry, root, launcher))
    add_page(app, launcher)
    return app


def create_launcher(settings: ManagerSettings) -> Launcher:
    """What jobs run in: processes or containers."""
    if settings.launcher == "docker":
        from batch.launchers.docker_container import DockerLauncher

        return DockerLauncher(settings)
    return ProcessLauncher(settings.manager_database.parent / "jobs")


def add_registry(app: Service, registry: Registry) -> None:
    """Keep the registry open while the app runs; not ready, and 503, while it does not respond."""

    @asynccontextmanager
    async def keep_open() -> AsyncIterator[None]:
        with registry.keep_open():
            yield

    async def registry_unavailable(_: Request, error: Exception) -> Response:
        problem = Problem(503, f"the registry does not respond: {error}", {"Retry-After": "1"})
        return Response(problem.document(), problem.status_code, problem.headers, MEDIA_TYPE)

    async def responds() -> bool:
        try:
            return await asyncio.to_thread(registry.counts) is not None
        except RegistryUnavailable:
            return False

    app.add_lifespan(keep_open)
    app.add_check(responds)
    app.add_exception_handler(RegistryUnavailable, registry_unavailable)
