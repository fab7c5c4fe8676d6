"""What enters an image: an allow-list, in which nothing is missing that the pattern imports."""

import pytest

from tests.support.patterns.imports import needed
from tests.support.processes import PATTERNS, ROOT

pytestmark = pytest.mark.parametrize("pattern", PATTERNS)


def rules(pattern: str) -> list[str]:
    lines = (ROOT / pattern / "Dockerfile.dockerignore").read_text().splitlines()
    return [line for line in lines if not line.startswith("#")]


def test_the_image_is_built_from_an_allow_list(pattern: str) -> None:
    """A file beside the code, such as one with secrets, cannot enter by mistake."""
    assert [rule for rule in rules(pattern) if not rule.startswith("!")] == ["*"]


def test_the_image_holds_every_module_that_the_pattern_imports(pattern: str) -> None:
    allowed = {rule: {*ROOT.glob(rule[1:])} for rule in rules(pattern) if rule.startswith("!")}
    assert [rule for rule, files in allowed.items() if not files] == []
    files = set().union(*allowed.values())
    missing = needed(file for file in files if file.suffix == ".py") - files
    assert [str(file.relative_to(ROOT)) for file in sorted(missing)] == []
