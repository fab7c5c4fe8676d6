"""Checks paths of requests: they must be inside DATA_ROOT, also after symbolic links are followed. Else 422.

A finished output is accepted only for the same input (there is nothing to do); for other input it is a 409, as is a
folder that holds what others have written.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from batch.output.folder import OutputFolder
from batch.output.refusals import OutputRefused
from batch.schemas import Run, RunRequest
from common.service.problems import Problem
from common.service.process.folders import require_writable


class DataRoot:
    """The folder that holds all inputs and outputs."""

    def __init__(self, folder: Path) -> None:
        require_writable(folder, "set DATA_ROOT to another folder")
        self.folder = folder.resolve()

    def check(self, inputs: Sequence[str], output: str) -> tuple[list[str], str]:
        """These paths relative to the folder. Raises `Problem` 422 for a path outside it, or inside another path."""
        sources, target = [self._inside("input", path) for path in inputs], self._inside("output", output)
        for source in sources:
            if source == target or source in target.parents or target in source.parents:
                raise Problem(422, f"output: expected a folder apart from the input {self._name(source)}, got {output}")
            self._check_links(source)
        if target.exists() and not target.is_dir():
            raise Problem(422, f"output: expected a folder, or a new name, got the file {self._name(target)}")
        return [self._name(source) for source in sources], self._name(target)

    def path(self, name: str) -> Path:
        """The absolute path of a checked one."""
        return self.folder / name

    def shorten(self, text: str) -> str:
        """A message of a job, with paths as clients write them: where the folder lies is nothing to them."""
        return text.replace(f"{self.folder}/", "").replace("--output ", "output: ")

    def _inside(self, field: str, text: str) -> Path:
        expected = f"{field}: expected a path inside DATA_ROOT such as scans/2026"
        if "://" in text:
            raise Problem(422, f"{expected}, got the address {text:.200}")
        try:
            path = (self.folder / text).resolve()
            with suppress(FileNotFoundError):
                path.lstat()  # raises if a name is too long, or below a file
        except (OSError, ValueError, RuntimeError) as error:
            raise Problem(422, f"{expected}, got {text!r:.200}: {error}") from None
        if not path.is_relative_to(self.folder):
            raise Problem(422, f"{expected}, got {text!r:.200}, which leads out of it")
        return path

    def _check_links(self, source: Path) -> None:
        """Links inside the folder must not lead out either."""
        for folder, folders, files in os.walk(source):
            for name in (*folders, *files):
                link = Path(folder, name)
                if link.is_symlink():
                    self._inside("input", self._name(link))

    def _name(self, path: Path) -> str:
        return str(path.relative_to(self.folder))


def check_output(root: DataRoot, run: RunRequest | Run) -> None:
    """Raise `Problem` 409 if others have written the output, or if it holds the results of other input."""
    folder = OutputFolder(root.path(run.output))
    try:
        folder.require_own()
        manifest = folder.read_manifest()
    except OutputRefused as error:
        raise Problem(409, root.shorten(str(error))) from None
    asked = ([str(root.path(name)) for name in run.input], run.first, run.last)
    if manifest and folder.is_finished and (manifest.inputs, manifest.first, manifest.last) != asked:
        days = f" from {manifest.first or '…'} to {manifest.last or '…'}" if manifest.first or manifest.last else ""
        held = root.shorten(f"{', '.join(manifest.inputs)}{days}")
        raise Problem(409, f"output: {run.output} holds the results of {held}: choose another output")
