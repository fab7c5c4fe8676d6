"""What callers may name: paths inside DATA_ROOT, symbolic links followed. Everything else is a 422.

A finished output is nothing to do, but only for those who ask for the same data; for others it is a 409.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from batch.output.folder import OutputFolder
from batch.schemas import Run, RunForm
from common.service.problems import Problem


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
        if target.exists() and not target.is_dir():
            raise Problem(422, f"output: expected a folder, or a name that is free, got the file {self._name(target)}")
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


def refuse_other_answers(root: DataRoot, work: RunForm | Run) -> None:
    """Raises `Problem` 409 where its output is finished and holds the answers to other data."""
    folder = OutputFolder(root.path(work.output))
    manifest = folder.manifest() if folder.is_finished else None
    asked = ([str(root.path(name)) for name in work.input], work.first, work.last)
    if manifest and (manifest.inputs, manifest.first, manifest.last) != asked:
        days = f" from {manifest.first or '…'} to {manifest.last or '…'}" if manifest.first or manifest.last else ""
        held = f"{', '.join(manifest.inputs)}{days}"
        raise Problem(409, f"output: {work.output} holds the answers to {held}: choose another")
