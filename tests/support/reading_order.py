"""The READMEs' lists "Read in this order". `python -m tests.support.reading_order` corrects their numbers of lines."""

import re
from pathlib import Path

from tests.support.processes import PATTERNS, ROOT

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
