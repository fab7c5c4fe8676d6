"""An engine that jobs cannot have is refused with the request, not when the run begins."""

from batch.command_line import Engine
from batch.engines.installed import EngineMissing
from batch.launchers.launcher import Launcher
from common.service.problems import Problem


def check_engine(launcher: Launcher, engine: Engine) -> None:
    """Raise a 422 that says where the engine is."""
    try:
        launcher.require_engine(engine)
    except EngineMissing as error:
        raise Problem(422, str(error)) from None
