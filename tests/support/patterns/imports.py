"""What the modules of the tree import, read from their text."""

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.support.processes import ROOT


def imports(file: Path) -> Iterator[str]:
    """The absolute names of the modules that a file imports."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: expected absolute imports"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def needed(files: Iterable[Path]) -> set[Path]:
    """These modules, and all of the tree that they import, each with its packages."""
    found: set[Path] = set()
    waiting = [*files]
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.add(file)
            waiting += [module for name in imports(file) for module in _modules(name)]
    return found


def _modules(name: str) -> Iterator[Path]:
    """The files that Python loads for an import of the tree's, with its packages; none for a library."""
    path = ROOT
    for part in name.split("."):
        path /= part
        if path.with_suffix(".py").is_file():
            yield path.with_suffix(".py")
        if not (path / "__init__.py").is_file():
            return
        yield path / "__init__.py"
