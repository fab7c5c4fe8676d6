"""What the READMEs hold that can be checked: commands with the answers they promise, and tables."""

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
