"""The READMEs have the same sections, and "Read in this order" lists a core that is read in ten minutes.

What it lists is what one request or job really runs through, traced in running services.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain, pairwise
from pathlib import Path

import pytest

from tests.support.batch.digit_datasets import write_data
from tests.support.batch.manager import manager
from tests.support.horizontal.jobs import all_answered, submit
from tests.support.patterns.procfiles import app_in, commands
from tests.support.processes import PATTERNS, ROOT, wait_until
from tests.support.readmes import ITEM, count_lines, reading_lists, section_of
from tests.support.samples import SEVEN_JSON
from tests.support.service_process import Server, is_ready
from tests.support.stack import Stack, stack_of
from tests.support.vertical.services import low_confidence_scan

BEFORE = ["When to use it", "Diagram", "Run", "Try", "Failures"]
AFTER = ["Read in this order", "Settings", "Make it yours", "Claims"]
MAX_CORE_LINES = 400

patterns = pytest.mark.parametrize("pattern", PATTERNS)


@patterns
def test_sections_are_the_same_in_the_same_order(pattern: str) -> None:
    """A pattern's own topics are in between."""
    headings = re.findall(r"^## (.+)$", (ROOT / pattern / "README.md").read_text(), re.MULTILINE)
    assert (headings[: len(BEFORE)], headings[-len(AFTER) :]) == (BEFORE, AFTER)


@patterns
def test_reading_order_says_how_long_each_file_is(pattern: str) -> None:
    assert reading_lists(pattern)
    assert len(ITEM.findall(section_of(pattern))) == len(re.findall(r"^\d+\. ", section_of(pattern), re.MULTILINE))
    listed = dict(chain.from_iterable(reading_lists(pattern)))
    assert listed == {file: count_lines(file) for file in listed}, "python -m tests.support.readmes corrects it"


@patterns
def test_reading_lists_have_at_most_400_lines_of_python(pattern: str) -> None:
    for files in reading_lists(pattern):
        names = [file for file, _ in files]
        assert len(set(names)) == len(names)
        assert sum(lines for file, lines in files if file.suffix == ".py") <= MAX_CORE_LINES


@patterns
def test_reading_lists_are_numbered_from_one(pattern: str) -> None:
    numbers = [int(number) for number, _, _ in ITEM.findall(section_of(pattern))]
    assert numbers[0] == 1
    assert all(after in (1, before + 1) for before, after in pairwise(numbers))


# What is listed is what runs


TRACED = "tests.support.traced_app:create_app"


def predict(front: Server) -> None:
    assert front.read(SEVEN_JSON).status_code == 200


def sort_letter(front: Server) -> None:
    assert not front.client.post("/letters", json=SEVEN_JSON).json()["degraded"]


def predict_in_three_stages(front: Server) -> None:
    assert len(front.read(low_confidence_scan()).json()["stages"]) == 3


def do_job(front: Server) -> None:
    job = front.client.post("/jobs", json=SEVEN_JSON).headers["location"]
    assert front.client.get(f"{job}?wait=20", timeout=30).json()["status"] == "done"


def predict_and_do_job(front: Server) -> None:
    predict(front)
    all_answered(front, submit(front))


USES: dict[str, Callable[[Server], None]] = {
    "web_single": predict,
    "synchronous": sort_letter,
    "asynchronous": do_job,
    "microservice_vertical": predict_in_three_stages,
    "microservice_horizontal": predict_and_do_job,
}


@contextmanager
def traced_stack(pattern: str) -> Iterator[Stack]:
    """The whole pattern; each of its apps records the files that it runs through."""
    with stack_of(pattern) as stack:
        apps = {name: app_in(command) for name, command in commands(pattern).items()}
        if "redis" in apps:
            stack.start("redis")
        for name, app in apps.items():
            if app and name != pattern:
                stack.launch(name, app=TRACED, traced_app=app)
        stack.start(pattern, app=TRACED, traced_app=apps[pattern])
        wait_until(lambda: all(is_ready(server) for name, server in stack.servers.items() if name != "redis"))
        yield stack


def named_in(section: str, folder: Path) -> Callable[[Path], bool]:
    """Whether a section names a file, or a folder that it lies in."""
    names = re.findall(r"^\d+\. `([^`]+)`|\]\(([^)]+)\)", section, re.MULTILINE)
    named = [(folder / (listed or linked)).resolve() for listed, linked in names]
    return lambda file: any(path in (file, *file.parents) for path in named)


def assert_listed(pattern: str, ran: set[Path]) -> None:
    """All that is listed ran, and what ran of the pattern is named in the section."""
    folder, listed = ROOT / pattern, [file.resolve() for files in reading_lists(pattern) for file, _ in files]
    assert [file for file in listed if file.suffix == ".py" and file not in ran] == []
    is_named = named_in(section_of(pattern), folder)
    mine = {file for file in ran if file.is_relative_to(folder) and file.name not in ("settings.py", "__init__.py")}
    assert [file for file in sorted(mine) if not is_named(file)] == []


@pytest.mark.full
@pytest.mark.parametrize("pattern", USES)
def test_reading_order_is_what_one_request_runs_through(pattern: str) -> None:
    with traced_stack(pattern) as stack:
        USES[pattern](stack.front)
        servers = [server for name, server in stack.servers.items() if name != "redis"]
        assert_listed(pattern, {Path(file) for server in servers for file in server.get("/traced-files").json()})


@pytest.mark.full
def test_reading_orders_of_batch_are_what_a_scheduled_run_and_its_chunks_run_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (records := tmp_path / "records").mkdir()
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "tests" / "support" / "tracing"))
    monkeypatch.setenv("TRACE_FOLDER", str(records))
    with manager(tmp_path) as started:
        write_data(started.data / "scans", 4, row_group=1)
        started.start()
        schedule = started.schedule()
        started.is_due(schedule)
        (run,) = started.runs_of(schedule)
    assert run["state"] == "done"
    lines = chain.from_iterable(file.read_text().splitlines() for file in records.iterdir())
    assert_listed("batch", {Path(line) for line in lines})
