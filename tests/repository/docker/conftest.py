"""What the tests on a real Docker engine share: one `docker compose up` of a pattern."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.docker import Composed, composed
from tests.support.processes import ROOT


@pytest.fixture(scope="package")
def project(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composed]:
    """All of a pattern, up by one command, for the tests of several files, each of which leaves it whole.

    `pytest.mark.parametrize("project", [PATTERN], indirect=True, scope="package")` says of which; by its scope, pytest
    runs the tests of one pattern one after another.
    """
    pattern, files, environment = request.param, "docker-compose.yml", {}
    if pattern == "microservice_horizontal":  # the README's fourth member is known, and does not run
        files += f":{fourth_member(tmp_path_factory.mktemp('fourth'))}"
    if pattern == "batch":
        environment["COMPOSE_PROFILES"] = "*"  # so that its clusters are removed, too
    with composed(ROOT, files, pattern, **environment) as project:
        yield project
        print(project.compose("logs", "--no-color", "--tail=20"))


def fourth_member(folder: Path) -> Path:
    """The compose file that microservice_horizontal's README writes."""
    readme = (ROOT / "microservice_horizontal" / "README.md").read_text()
    block = re.search(r"^services:\n.*?(?=^EOF$)", readme, re.MULTILINE | re.DOTALL)
    assert block
    file = folder / "fourth.yaml"
    file.write_text(block[0])
    return file
