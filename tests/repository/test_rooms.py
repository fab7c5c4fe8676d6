"""The house: patterns stand on `common` and never on each other, and each room of `common` imports only what it may."""

import ast
import re
import sys

import pytest

from common import domain
from tests.support.patterns.imports import imports
from tests.support.processes import PATTERNS, ROOT

ROOMS: dict[str, set[str]] = {
    "telemetry": set(),
    "service": {"telemetry"},
    "server": {"service"},
    "inference": {"service", "telemetry"},
    "open_inference": {"service", "telemetry", "inference"},
    "backends": {"service", "telemetry", "open_inference"},
    "domain": set(),
    "prediction": {"service", "inference", "domain"},
    "jobs": {"service", "prediction"},
    "store": {"service", "jobs", "prediction"},
    "playground": {"service", "domain"},
    "runner": set(),
    "training": {"domain"},
}
"""By room, the rooms that it may import."""
MEETING_POINTS: dict[str, set[str]] = {
    "jobs/job_predictor.py": {"backends", "domain", "inference"},  # the queue meets the model
    "store/remote.py": {"backends"},  # a caller of the store's endpoint in another service
    "store/retrieve_endpoint.py": {"domain", "inference", "open_inference"},  # the store meets the model
}
"""By module, what it may import besides."""


DOMAIN = {"numpy", "pydantic", "pydantic_core", "PIL"}
"""All that the domain may import."""


def test_every_room_is_in_the_table_and_says_what_lives_there() -> None:
    assert set(ROOMS) == {file.parent.name for file in (ROOT / "common").glob("*/__init__.py")}
    for room in ROOMS:
        assert ast.get_docstring(ast.parse((ROOT / "common" / room / "__init__.py").read_text())), room


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_room_imports_only_the_rooms_that_it_may(room: str) -> None:
    for file in (ROOT / "common" / room).rglob("*.py"):
        used = {name.split(".")[1] for name in imports(file) if name.startswith("common.")}
        name = file.relative_to(ROOT / "common").as_posix()
        assert used <= ROOMS[room] | MEETING_POINTS.get(name, set()) | {room}, name


def test_common_knows_no_pattern_and_patterns_do_not_know_each_other() -> None:
    for floor in ("common", *PATTERNS):
        for file in (ROOT / floor).rglob("*.py"):
            used = {name.partition(".")[0] for name in imports(file)}
            assert not used & (({*PATTERNS} | {"tests", "benchmarks"}) - {floor}), file


def test_the_domain_imports_numpy_pydantic_and_pillow_and_nothing_of_common() -> None:
    for file in (ROOT / "common" / "domain").glob("*.py"):
        used = {name.partition(".")[0] for name in imports(file) if not name.startswith("common.domain.")}
        assert used <= DOMAIN | sys.stdlib_module_names, file


def test_nothing_that_runs_in_production_imports_from_inside_the_domain() -> None:
    """Only the names that `common/domain/__init__.py` documents; training code of the digits may go deeper."""
    rooms = [ROOT / "common" / room for room in set(ROOMS) - {"domain", "training"}]
    for file in [
        file for folder in (*rooms, *(ROOT / pattern for pattern in PATTERNS)) for file in folder.rglob("*.py")
    ]:
        used = {name.removeprefix("common.domain.") for name in imports(file) if name.startswith("common.domain.")}
        assert used <= {*domain.__all__}, file
        text = file.read_text()
        assert {*re.findall(r"\bdomain\.(\w+)", text)} <= {*domain.__all__}, file


def test_the_domain_documents_every_name_that_it_exports() -> None:
    assert [name for name in domain.__all__ if not re.search(rf"\b{name}\b", domain.__doc__ or "")] == []
