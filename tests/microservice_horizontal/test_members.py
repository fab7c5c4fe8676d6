"""Members are developed and started independently (H8); the accuracy of their votes is what the README says."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import httpx
import numpy as np
import pytest

from common.training.damage import degrade
from common.training.data import SEED, Rows, held_out, stack
from common.training.measure import DAMAGED_COPIES, runner
from microservice_horizontal.settings import MODELS, VoteSettings
from microservice_horizontal.voting import Aggregate, Votes, majority, mean, weighted_mean
from tests.support.patterns.start import copied, free_ports, started
from tests.support.processes import ROOT, free_port, wait_until
from tests.support.readmes import rows
from tests.support.samples import SEVEN_PIXELS

PATTERN = "microservice_horizontal"
README = ROOT / PATTERN / "README.md"
AGGREGATIONS: dict[str, Callable[[Votes], Aggregate]] = {
    "majority": majority,
    "mean": mean,
    "weighted": partial(weighted_mean, weights=VoteSettings().weights),
}


@pytest.mark.full
def test_fourth_member_is_one_line_in_the_procfile_and_one_setting(tmp_path: Path) -> None:
    """The line that the README shows."""
    line = re.search(r"^specialist: .+$", README.read_text(), re.MULTILINE)
    assert line
    folder, four = copied(PATTERN, tmp_path), [*MODELS, "specialist"]
    with (folder / PATTERN / "Procfile").open("a") as procfile:
        procfile.write(f"{line[0]}\n")
    ports = free_ports(PATTERN) | {f"{PATTERN.upper()}_SPECIALIST_PORT": free_port()}
    urls = [f"http://127.0.0.1:{ports[f'{PATTERN}_{name}_port'.upper()]}/v2/models/{name}" for name in four]
    environment = {name: str(port) for name, port in ports.items()}
    front = f"http://127.0.0.1:{ports[f'{PATTERN.upper()}_PORT']}"
    with (
        started(PATTERN, folder, MEMBERS=",".join(urls), DRAIN_SECONDS="0", **environment),
        httpx.Client(base_url=front, timeout=10) as client,
    ):
        answer = client.post("/predict", json={"pixels": SEVEN_PIXELS}).json()
        assert (answer["digit"], list(answer["predictions"]), answer["missing"]) == (7, four, [])
        alone = client.post("/predict/specialist", json={"pixels": SEVEN_PIXELS}).json()
        assert alone == answer["predictions"]["specialist"]
        job = client.post("/jobs", json={"pixels": SEVEN_PIXELS}).headers["location"]
        assert client.get(f"{job}?wait=10").json()["status"] == "done"
        wait_until(lambda: list(client.get(job).json()["predictions"]) == four)


@pytest.mark.full
def test_the_readme_shows_the_accuracy_of_models_and_votes() -> None:
    """The share of held-out and of damaged scans that each model and each aggregation reads correctly."""
    shown = {name.strip("`"): [float(cell.removesuffix(" %")) for cell in cells] for name, *cells in figures()}
    scans, rng = held_out(), np.random.default_rng(SEED + 1)
    damaged = stack(*(Rows(degrade(scans.features, rng), scans.labels) for _ in range(DAMAGED_COPIES)))
    found = [accuracies(scans), accuracies(damaged)]
    assert shown == {name: [pytest.approx(accuracy[name], abs=0.06) for accuracy in found] for name in found[0]}


def figures() -> list[list[str]]:
    return rows(README, "Aggregation")


def accuracies(scans: Rows) -> dict[str, float]:
    """The percentage of correct readings of each model and each aggregation."""
    files = {name: (ROOT / "common" / "models" / f"{name}.onnx").read_bytes() for name in MODELS}
    tables = {name: runner(file)(scans.features)[1] for name, file in files.items()}
    votes: list[Votes] = [{name: table[row] for name, table in tables.items()} for row in range(len(scans.labels))]
    digits = {name: table.argmax(axis=1) for name, table in tables.items()}
    digits |= {how: np.array([how_to(vote).digit for vote in votes]) for how, how_to in AGGREGATIONS.items()}
    return {name: 100 * float((read == scans.labels).mean()) for name, read in digits.items()}
