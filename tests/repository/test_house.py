"""The tests have a house of their own: a folder for each room and pattern, and no test that another one needs."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.support.processes import PATTERNS, ROOT

TESTS = ROOT / "tests"
OF_THE_TESTS = {"support", "clients", "repository"}
"""Folders that mirror no room: helpers, programs of other makers, and tests of the repository as a whole."""


def imported(file: Path) -> Iterator[str]:
    """The modules that a file imports, at its top or further down."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_no_test_module_is_imported() -> None:
    tests = {".".join(file.relative_to(ROOT).with_suffix("").parts) for file in TESTS.rglob("test_*.py")}
    assert len(tests) > 80
    found = {str(file.relative_to(ROOT)): tests & {*imported(file)} for file in TESTS.rglob("*.py")}
    assert {file: modules for file, modules in found.items() if modules} == {}


def test_every_folder_of_tests_mirrors_a_room_of_common_or_a_pattern() -> None:
    folders = {file.parent.relative_to(TESTS) for file in TESTS.rglob("test_*.py")}
    rooms = {folder for folder in folders if folder.parts[0] not in OF_THE_TESTS}
    assert {str(room) for room in rooms if not (ROOT / room / "__init__.py").is_file()} == set()
    assert {*PATTERNS} <= {str(room) for room in rooms}


def test_no_folder_of_tests_holds_more_files_than_a_reader_takes_in() -> None:
    folders = {file.parent for file in TESTS.rglob("*.py")}
    sizes = {str(folder.relative_to(ROOT)): len([*folder.glob("*.py")]) for folder in folders}
    assert {folder: size for folder, size in sizes.items() if size > 17} == {}


def test_every_pattern_has_a_test_in_one_process_that_can_be_copied_with_it() -> None:
    """It needs nothing else of the tests, and no other pattern."""
    for pattern in PATTERNS:
        modules = {module.split(".")[0] for module in imported(TESTS / pattern / "test_with_test_client.py")}
        assert "fastapi" in modules
        assert not modules & ({*PATTERNS, "tests"} - {pattern})
