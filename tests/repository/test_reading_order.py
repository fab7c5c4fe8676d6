"""The READMEs have the same sections, and "Read in this order" lists a core that is read in ten minutes."""

import re
from itertools import chain, pairwise

import pytest

from tests.support.processes import PATTERNS, ROOT
from tests.support.reading_order import ITEM, count_lines, reading_lists, section_of

BEFORE = ["When to use it", "Diagram", "Run", "Try", "Failures"]
AFTER = ["Read in this order", "Settings", "Make it yours", "Claims"]
MAX_CORE_LINES = 400

pytestmark = pytest.mark.parametrize("pattern", [pattern for pattern in PATTERNS if pattern != "batch"])


def test_sections_are_the_same_in_the_same_order(pattern: str) -> None:
    """A pattern's own topics are in between."""
    headings = re.findall(r"^## (.+)$", (ROOT / pattern / "README.md").read_text(), re.MULTILINE)
    assert (headings[: len(BEFORE)], headings[-len(AFTER) :]) == (BEFORE, AFTER)


def test_reading_order_says_how_long_each_file_is(pattern: str) -> None:
    assert reading_lists(pattern)
    assert len(ITEM.findall(section_of(pattern))) == len(re.findall(r"^\d+\. ", section_of(pattern), re.MULTILINE))
    listed = dict(chain.from_iterable(reading_lists(pattern)))
    assert listed == {file: count_lines(file) for file in listed}, "python -m tests.support.reading_order corrects it"


def test_reading_lists_have_at_most_400_lines_of_python(pattern: str) -> None:
    for files in reading_lists(pattern):
        names = [file for file, _ in files]
        assert len(set(names)) == len(names)
        assert sum(lines for file, lines in files if file.suffix == ".py") <= MAX_CORE_LINES


def test_reading_lists_are_numbered_from_one(pattern: str) -> None:
    numbers = [int(number) for number, _, _ in ITEM.findall(section_of(pattern))]
    assert numbers[0] == 1
    assert all(after in (1, before + 1) for before, after in pairwise(numbers))
