"""`--all` and the markers: what runs when, and what a machine must have for it; and what the tests of many files need.

Without `--all` (`make test`), tests marked `full` do not run, and those that need a program which this machine lacks
are skipped, with the reason. With it (`make test-all`) all run but `[quick]` tests whose `[full]` does the
same, and what is missing is a failure. The one exception: WITHOUT_DOCKER=REASON says that this machine cannot have a
Docker engine.
"""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
from hypothesis import Phase, settings

for file in Path(__file__).parent.rglob("support/*.py"):  # so that a failed assert in a helper shows its values
    pytest.register_assert_rewrite(".".join(file.relative_to(Path(__file__).parents[1]).with_suffix("").parts))

from tests.support.models.onnx_models import poison_reader, slow_reader  # noqa: E402
from tests.support.redis_servers import RedisServer, redis_server  # noqa: E402
from tests.support.service_process import Server, serving  # noqa: E402


@cache
def _no_docker() -> str:
    for command in (["docker", "info"], ["docker", "compose", "version"], ["docker", "buildx", "version"]):
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=20)
        except (OSError, subprocess.SubprocessError):
            return f"`{' '.join(command)}` fails: no Docker engine with Compose v2"
    return ""


def _none_of(*programs: str) -> Callable[[], str]:
    return lambda: "" if any(map(shutil.which, programs)) else f"{' or '.join(programs)} is not installed"


def _no_mount() -> str:
    return "" if os.geteuid() == 0 else "only root may mount a file system"


# No limit on the time of an example: a busy machine misses it. What explains a failure may take many minutes.
settings.register_profile("any machine", deadline=None, phases=[phase for phase in Phase if phase is not Phase.explain])
settings.load_profile("any machine")
# Many servers run at once in the tests, and no two can have gRPC's usual port; a test that wants gRPC asks for a port.
os.environ.setdefault("GRPC_PORT", "0")
# Tests parse what services log, as programs do.
os.environ["LOG_FORMAT"] = "json"
# `make test` leaves these to its children: a make that a test calls would name the folders that it enters.
for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS"):
    os.environ.pop(name, None)

MISSING: dict[str, Callable[[], str]] = {
    "docker": _no_docker,
    "browser": _none_of("chromium", "chromium-browser", "google-chrome"),
    "promtool": _none_of("promtool"),
    "wrk": _none_of("wrk"),
    "java": _none_of("javac"),
    "envoy": _none_of("envoy"),
    "redis_server": _none_of("redis-server"),
    "nginx": _none_of("nginx"),
    "faketime": _none_of("faketime"),
    "strace": _none_of("strace"),
    "mount": _no_mount,
}
"""By marker: why this machine cannot run such a test, or nothing."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="run every test; what this machine lacks is a failure")


@pytest.hookimpl(tryfirst=True)  # before xdist looks for the groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    deselected = _repeated(items) if config.getoption("--all") else [i for i in items if i.get_closest_marker("full")]
    config.hook.pytest_deselected(items=deselected)
    selected = set(items) - set(deselected)
    items[:] = [item for item in items if item in selected]
    items.sort(key=lambda item: "repository" not in item.path.parts)  # the longest first, so that none is left alone
    for item in items:
        item.add_marker(pytest.mark.xdist_group(_together(item)))


def _repeated(items: list[pytest.Item]) -> list[pytest.Item]:
    """The tests `[quick]` whose `[full]` does the same, more often."""
    ids = {item.nodeid for item in items}
    return [item for item in items if "quick" in item.nodeid and item.nodeid.replace("quick", "full") in ids]


def _together(item: pytest.Item) -> str:
    """What one process runs, in order: a file, or a folder whose conftest.py starts what its files share.

    So it does with all that runs in Docker: an engine has networks for a few projects at a time. And with the
    browser's tests: Chromium breaks off what it loads when an engine makes or removes a network.
    """
    if item.get_closest_marker("docker") or item.get_closest_marker("browser"):
        return "docker and browser"
    folder = item.path.parent
    return str(folder if (folder / "conftest.py").exists() else item.path)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker, missing in MISSING.items():
        if not item.get_closest_marker(marker):
            continue
        if marker == "docker" and (excuse := os.environ.get("WITHOUT_DOCKER")):
            pytest.skip(f"WITHOUT_DOCKER: {excuse}")
        if reason := missing():
            if item.config.getoption("--all"):
                pytest.fail(reason)
            pytest.skip(reason)


@pytest.fixture(scope="session")
def poison(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where the poison reader's file is."""
    return poison_reader(tmp_path_factory.mktemp("poison") / "mlp.onnx")


@pytest.fixture(scope="session")
def slow_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where the slow reader's file is."""
    return slow_reader(tmp_path_factory.mktemp("slow") / "mlp.onnx")


@pytest.fixture(scope="module")
def valkey() -> Iterator[RedisServer]:
    """A server that the tests of one file share."""
    with redis_server("valkey") as server:
        yield server


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """web_single with its defaults, one for each test module that asks for it."""
    with serving() as server:
        yield server
