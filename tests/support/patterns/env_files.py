"""The files of variables that Compose reads, written from the settings: `python -m tests.support.patterns`."""

import yaml

from tests.support.patterns.front_services import FRONT_SERVICES
from tests.support.patterns.procfiles import variables_of_all
from tests.support.processes import ROOT

SET_BY_THE_IMAGE = {"DATA_ROOT", "GRPC_HOST", "GRPC_PORT", "MANAGER_DATABASE", "RESULTS_DATABASE"}
"""Addresses and folders inside the container, which do not follow those outside."""
UVICORNS = {"UVICORN_ROOT_PATH", "UVICORN_TIMEOUT_KEEP_ALIVE"}
"""Variables that uvicorn reads, not our Settings."""


def passed_on(pattern: str) -> list[str]:
    """The environment variables that all of a pattern's containers get from the shell, where it has them.

    Not those that compose gives to some of them: `MEMBERS` of the proxy is to change no member.
    """
    services = yaml.safe_load((ROOT / pattern / "docker-compose.yml").read_text())["services"].values()
    given = {name for service in services for name in service.get("environment", {})}
    settings = {name for name, _ in variables_of_all(pattern)}
    return sorted((UVICORNS | settings) - given - SET_BY_THE_IMAGE)


def settings_file(pattern: str) -> str:
    """What `PATTERN/settings.env` must say."""
    head = "# What Compose hands on from the shell, if set there. Written by `python -m tests.support.patterns`.\n"
    return head + "".join(f"{name}\n" for name in passed_on(pattern))


def ports_file() -> str:
    """What the root's `docker-compose.env` must say."""
    fronts = sorted(FRONT_SERVICES.items(), key=lambda item: item[1].port)
    ports = ",".join(f"{name}=${{{name.upper()}_PORT:-{front.port}}}" for name, front in fronts)
    head = "# The ports of all patterns, for the links between pages. Written by `python -m tests.support.patterns`."
    return f"{head}\nPATTERN_PORTS={ports}\n"
