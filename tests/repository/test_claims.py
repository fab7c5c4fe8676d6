"""The claims of the pattern catalogue: each is in its README's table, with the code and the test that carry it."""

import re
from pathlib import Path

import pytest

from tests.support.processes import PATTERNS, ROOT
from tests.support.readmes import READMES, rows

CLAIMS = {
    "web_single": ("W", 6),
    "synchronous": ("S", 6),
    "asynchronous": ("A", 9),
    "batch": ("B", 12),
    "microservice_vertical": ("V", 8),
    "microservice_horizontal": ("H", 8),
}
"""The letter and the number of each pattern's claims in the catalogue; G1 to G3 hold for all."""

TRANSLATIONS = ("README.md", "README.ru.md")
"""What is said of the whole repository, in English and in Russian."""

TABLES = [(ROOT / "README.md", "G", 3), *((ROOT / pattern / "README.md", *CLAIMS[pattern]) for pattern in PATTERNS)]


@pytest.mark.parametrize(("readme", "letter", "count"), TABLES)
def test_every_claim_of_the_catalogue_is_in_its_table_once_and_in_order(readme: Path, letter: str, count: int) -> None:
    names = [match[1] for row in rows(readme, "Claims") if (match := re.match(r"\*\*(\w+)\*\*", row[0]))]
    assert names == [f"{letter}{number}" for number in range(1, count + 1)]


@pytest.mark.parametrize(("readme", "letter", "count"), TABLES)
def test_everything_that_a_claims_table_names_exists(readme: Path, letter: str, count: int) -> None:
    for claim, code, proof in rows(readme, "Claims"):
        assert_proved(claim, code + proof)


def test_every_promise_of_the_readme_names_tests_that_exist() -> None:
    promises = rows(ROOT / "README.md", "What this promises, and the test that proves it")
    assert len(promises) >= 12
    for promise, proof in promises:
        assert_proved(promise, proof)


def assert_proved(claim: str, text: str) -> None:
    """What a row names in backquotes exists, and a test or benchmark is among it."""
    files = [name for name in re.findall(r"`([\w./:-]+)`", text) if "/" in name]
    assert any(name.startswith(("tests/", "benchmarks/")) for name in files), f"{claim} is not proved"
    assert [name for name in files if not (ROOT / name.partition("::")[0]).exists()] == []
    for file, _, test in (name.partition("::") for name in files if "::" in name):
        assert f"def {test}(" in (ROOT / file).read_text(), f"{claim} names {test}, which {file} does not have"


@pytest.mark.parametrize("readme", READMES, ids=lambda path: str(path.relative_to(ROOT)))
def test_pictures_and_links_of_a_readme_exist(readme: Path) -> None:
    text = readme.read_text()
    names = re.findall(r"\]\(([^)#:]+)(?:#[\w-]*)?\)", text) + re.findall(r"src(?:set)?=\"([^\":]+)\"", text)
    assert [name for name in names if not (readme.parent / name).exists()] == []


@pytest.mark.parametrize(
    "part",
    [r"^#+ ", r"^```\w+\n[^`]*^```$", r"^ {4}\S.*$", r"`((?:tests|common|benchmarks)/[^`]+)`", r"^\|", r"^- "],
    ids=["headings", "blocks", "listings", "files", "rows", "items"],
)
def test_the_russian_readme_has_what_the_english_has(part: str) -> None:
    english, russian = (re.findall(part, (ROOT / name).read_text(), re.MULTILINE) for name in TRANSLATIONS)
    assert english
    assert english == russian
