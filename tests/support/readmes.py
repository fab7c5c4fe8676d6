"""What the READMEs hold that can be checked: commands with the answers they promise, tables, and reading lists.

`python -m tests.support.readmes` corrects the numbers of lines in the lists "Read in this order".
"""

import re
from pathlib import Path
from typing import NamedTuple

from tests.support.processes import PATTERNS, ROOT

READMES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / pattern / "README.md" for pattern in PATTERNS)]

_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_TABLE = re.compile(r"(?:^\|.+\|\n)+", re.MULTILINE)


class Step(NamedTuple):
    """A block of shell commands, and the JSON that the README shows as its answer, or nothing."""

    commands: str
    answer: str


def steps(readme: Path) -> list[Step]:
    """The shell blocks of a README in order, each with the JSON block that follows it, if one does."""
    blocks = [(language, text.strip()) for language, text in _FENCE.findall(readme.read_text())]
    following = [*blocks[1:], ("", "")]
    return [
        Step(text, after if kind == "json" else "")
        for (language, text), (kind, after) in zip(blocks, following, strict=True)
        if language == "sh"
    ]


def rows(readme: Path, heading: str) -> list[list[str]]:
    """The cells of the tables under a heading, without their heads."""
    section = readme.read_text().partition(f"## {heading}\n")[2].partition("\n## ")[0]
    bodies = [table.splitlines()[2:] for table in _TABLE.findall(f"{section}\n")]
    return [[cell.strip() for cell in row[1:-1].split("|")] for body in bodies for row in body]


# Read in this order

ITEM = re.compile(r"^(\d+)\. `([\w./]+)` \((\d+) lines\): ", re.MULTILINE)


def section_of(pattern: str) -> str:
    """The README's section, without its heading."""
    return (ROOT / pattern / "README.md").read_text().partition("\n## Read in this order\n")[2].partition("\n## ")[0]


def reading_lists(pattern: str) -> list[list[tuple[Path, int]]]:
    """The section's numbered lists: for each item a file, and its number of lines as the README says."""
    lists: list[list[tuple[Path, int]]] = []
    for number, name, lines in ITEM.findall(section_of(pattern)):
        if number == "1":
            lists.append([])
        lists[-1].append((ROOT / pattern / name, int(lines)))
    return lists


def count_lines(file: Path) -> int:
    """The lines of a file."""
    return len(file.read_text().splitlines())


def main() -> None:
    """Write the true numbers of lines into every README."""
    for pattern in PATTERNS:
        readme = ROOT / pattern / "README.md"
        text = ITEM.sub(
            lambda item, folder=ROOT / pattern: f"{item[1]}. `{item[2]}` ({count_lines(folder / item[2])} lines): ",  # type: ignore[misc]
            readme.read_text(),
        )
        readme.write_text(text)


if __name__ == "__main__":
    main()
