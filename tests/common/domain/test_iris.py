"""Another domain takes the place of `common/domain/`: the README's commands, no other file, and species come back."""

import json
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from shutil import copytree
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from playwright.sync_api import expect

from tests.support.browsers import chromium, opened
from tests.support.patterns.front_services import finished
from tests.support.patterns.start import copied, started
from tests.support.processes import ROOT, output_of, wait_until

README = (ROOT / "README.md").read_text().partition("## Put your own model in\n")[2].partition("\n## ")[0]
FLOWER = {"sepal_length": 6.1, "sepal_width": 2.8, "petal_length": 4.0, "petal_width": 1.3}
SETOSA = {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}
MODEL = "common/models/iris.onnx"


def files(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture
def project(pattern: str, tmp_path: Path) -> Path:
    """A copy of `common/` and the pattern after the first block of the README's section."""
    copytree(ROOT / "examples", tmp_path / "examples")
    project = copied(pattern, tmp_path / "my-project")
    before = files(project)
    commands, *_ = re.findall(r"^```sh\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    output_of("bash", "-euc", commands, folder=tmp_path)
    after = files(project)
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    assert {name for name in changed if not name.startswith("common/domain/")} == {MODEL}
    assert [name for name in after if name.startswith("common/domain/")] == ["common/domain/__init__.py"]
    return project


def predict(url: str, _: Path) -> list[Any]:
    response = httpx.post(f"{url}/predict", json=[FLOWER, SETOSA])
    assert response.status_code == 200, response.text
    return [one["species"] for one in response.json()]


def sort_letters(url: str, _: Path) -> list[Any]:
    letters = [httpx.post(f"{url}/letters", json=flower).json() for flower in (FLOWER, SETOSA)]
    assert not any(letter["degraded"] for letter in letters), letters
    assert [letter["bin"] for letter in letters] == [letter["prediction"]["species"] for letter in letters]
    return [letter["bin"] for letter in letters]


def submit_jobs(url: str, project: Path) -> list[Any]:
    accepted = [httpx.post(f"{url}/jobs", json=flower) for flower in (FLOWER, SETOSA)]
    assert [response.status_code for response in accepted] == [202, 202]
    jobs = [httpx.get(f"{url}{response.headers['Location']}?wait=20", timeout=30).json() for response in accepted]
    with closing(sqlite3.connect(project / ".state" / "asynchronous" / "results.sqlite")) as connection:
        stored = partial(connection.execute, "SELECT species FROM results WHERE job_id IN (?, ?)")
        ids = [job["job_id"] for job in jobs]
        wait_until(lambda: sorted(stored(ids).fetchall()) == [("setosa",), ("versicolor",)])
    return [job["prediction"]["species"] for job in jobs]


def run_batch(url: str, project: Path) -> list[Any]:
    flowers: list[dict[str, Any]] = [FLOWER, SETOSA, *({**FLOWER, "petal_width": width} for width in (0.0, 30.1, None))]
    table = pa.Table.from_pylist([{"id": number} | flower for number, flower in enumerate(flowers)])
    data = project / ".state" / "batch" / "data"
    (data / "flowers").mkdir(parents=True)
    pq.write_table(table, data / "flowers" / "flowers.parquet")
    response = httpx.post(f"{url}/runs", json={"input": "flowers", "output": "species"}, timeout=10)
    assert response.status_code == 201, response.text
    run = finished(f"{url}/runs", response.json()["id"])
    assert run["state"] == "done", run
    rejected = pq.read_table(data / "species" / "_rejected", partitioning=None).to_pylist()
    assert [row["id"] for row in rejected] == [2, 3, 4]
    assert {row["reason"] for row in rejected} == {"expected four lengths above 0, at most 30 cm"}
    rows = pq.read_table(data / "species").to_pylist()
    assert list(rows[0]) == ["id", "species", "confidence", "model_version"]
    return [row["species"] for row in sorted(rows, key=lambda row: row["id"])]


PATTERNS: dict[str, Callable[[str, Path], list[Any]]] = {
    "web_single": predict,
    "synchronous": sort_letters,
    "asynchronous": submit_jobs,
    "batch": run_batch,
}


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "pattern", [name if name == "web_single" else pytest.param(name, marks=pytest.mark.full) for name in PATTERNS]
)
def test_a_copy_with_the_iris_domain_answers_with_species(pattern: str, project: Path) -> None:
    with started(pattern, project, MODEL_URI=MODEL) as (_, ports):
        url = f"http://127.0.0.1:{ports[f'{pattern.upper()}_PORT']}"
        for address in ("/openapi.json", "/"):
            text = httpx.get(f"{url}{address}").text.partition("<main>")[0]  # below it, what is for images is hidden
            assert not re.findall(r"\b(digits?|pictures?|pixels)\b", text, re.IGNORECASE), address
        assert PATTERNS[pattern](url, project) == ["versicolor", "setosa"]


def test_the_readme_says_how_long_the_domain_is() -> None:
    lines = len((ROOT / "examples/iris/domain/__init__.py").read_text().splitlines())
    assert f"one file of {lines} lines" in README.replace("\n", " ")


@pytest.mark.full
@pytest.mark.browser
@pytest.mark.parametrize("pattern", ["web_single"])
def test_the_playground_of_a_domain_without_images_is_a_form(pattern: str, project: Path) -> None:
    with (
        started(pattern, project, MODEL_URI=MODEL) as (_, ports),
        chromium() as browser,
        opened(browser, f"http://127.0.0.1:{ports['WEB_SINGLE_PORT']}") as page,
    ):
        expect(page.locator("h1")).to_have_text("Name an iris")
        expect(page.locator("#draw-pad")).to_be_hidden()
        expect(page.locator("#answer-status")).to_have_text("Nothing is sent yet.")
        assert json.loads(page.locator("#input-json").input_value()) == FLOWER
        page.locator("#send-json").click()
        expect(page.locator("#answer-status")).to_contain_text("Read as versicolor, 93.2 % sure.")
        expect(page.locator("#answer-bars li.best .name")).to_have_text("versicolor")
        page.locator("#input-json").fill(json.dumps(SETOSA))
        expect(page.locator("#curl-command")).to_contain_text('"petal_width": 0.2')
        page.locator("#send-json").click()
        expect(page.locator("#answer-label")).to_have_text("setosa")
