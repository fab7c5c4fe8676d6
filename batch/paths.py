"""What callers may name: paths inside DATA_ROOT, symbolic links followed. Everything else is a 422."""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from common.errors import Problem


class DataRoot:
    """The folder that holds all inputs and outputs."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder.resolve()

    def check(self, inputs: Sequence[str], output: str) -> tuple[list[str], str]:
        """These paths relative to the folder; raises `Problem` 422 where one leads out of it, or into another."""
        sources, target = [self._inside("input", path) for path in inputs], self._inside("output", output)
        for source in sources:
            if source == target or source in target.parents or target in source.parents:
                raise Problem(422, f"output: expected a folder apart from the input {self._name(source)}, got {output}")
            self._check_links(source)
        return [self._name(source) for source in sources], self._name(target)

    def path(self, name: str) -> Path:
        """Where a checked path is."""
        return self.folder / name

    def _inside(self, field: str, text: str) -> Path:
        expected = f"{field}: expected a path inside DATA_ROOT such as scans/2026"
        if "://" in text:
            raise Problem(422, f"{expected}, got the address {text:.200}")
        try:
            path = (self.folder / text).resolve()
            with suppress(FileNotFoundError):
                path.lstat()  # too long a name, or one below a file, can be no path
        except (OSError, ValueError, RuntimeError) as error:
            raise Problem(422, f"{expected}, got {text!r:.200}: {error}") from None
        if not path.is_relative_to(self.folder):
            raise Problem(422, f"{expected}, got {text!r:.200}, which leads out of it")
        return path

    def _check_links(self, source: Path) -> None:
        """A link in a folder must not lead out either."""
        for folder, folders, files in os.walk(source):
            for name in (*folders, *files):
                link = Path(folder, name)
                if link.is_symlink():
                    self._inside("input", self._name(link))

    def _name(self, path: Path) -> str:
        return str(path.relative_to(self.folder))
