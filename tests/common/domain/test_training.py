"""The committed models: their cards tell the truth, ONNX says what scikit-learn says, and training gives them again."""

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common import training
from common.training.damage import degrade
from common.training.data import all_scans, held_out, material, split
from common.training.export import export
from common.training.measure import Run, mean_confidence, microseconds, quality_figures, reader_figures, runner
from common.training.models import MODELS, Trained

FOLDER = Path(training.__file__).parent.parent / "models"


@cache
def card(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    return loaded


@cache
def run(name: str) -> Run:
    return runner((FOLDER / f"{name}.onnx").read_bytes())


@cache
def rows() -> training.data.Material:
    return material()


@cache
def retrained(name: str) -> Trained:
    return MODELS[name](rows())


def test_no_held_out_scan_is_trained_on() -> None:
    learned, held = split()
    assert len(held.labels) == 450
    assert len(learned.labels) + len(held.labels) == len(all_scans().labels) == 1797
    assert not {scan.tobytes() for scan in learned.features} & {scan.tobytes() for scan in held.features}


@pytest.mark.parametrize("name", MODELS)
def test_card_describes_its_file(name: str) -> None:
    model = (FOLDER / f"{name}.onnx").read_bytes()
    sha256 = hashlib.sha256(model).hexdigest()
    labels, probabilities = run(name)(held_out().features)
    classes = len(card(name)["classes"])
    assert (card(name)["name"], card(name)["sha256"], card(name)["version"]) == (name, sha256, sha256[:12])
    assert card(name)["inputs"] == [{"name": "features", "dtype": "float32", "shape": [None, 64]}]
    assert card(name)["outputs"] == [
        {"name": "label", "dtype": labels.dtype.name, "shape": [None]},
        {"name": "probabilities", "dtype": probabilities.dtype.name, "shape": [None, classes]},
    ]
    assert probabilities.shape == (450, classes)
    assert card(name)["bytes"] == len(model) < 2_000_000


@pytest.mark.parametrize(
    "name", ["mlp", *[pytest.param(name, marks=pytest.mark.full) for name in MODELS if name != "mlp"]]
)
def test_figures_on_the_card_are_those_measured(name: str) -> None:
    figures = quality_figures(run(name)) if name == "quality" else reader_figures(run(name), run("mlp"))
    assert figures == pytest.approx(card(name)["figures"], abs=0.005)


@pytest.mark.parametrize("name", MODELS)
def test_reference_on_the_card_is_that_of_the_scans(name: str) -> None:
    reference = card(name)["reference"]
    features = split()[0].features
    assert reference["rows"] == len(features)
    assert reference["feature_mean"] == pytest.approx(features.mean(axis=0), abs=1e-3)
    assert reference["feature_std"] == pytest.approx(features.std(axis=0), abs=1e-3)
    assert reference["mean_confidence"] == pytest.approx(mean_confidence(run(name), held_out().features), abs=1e-3)


def test_everyday_reader_is_right_on_97_of_100_held_out_scans() -> None:
    features, labels = held_out()
    assert np.mean(run("mlp")(features)[0] == labels) >= 0.97


def test_specialist_is_better_at_low_confidence_and_several_times_slower() -> None:
    unsure, damaged = "held_out_scans_low_confidence_of_mlp", "held_out_scans_damaged"
    assert card("specialist")["figures"][unsure] > card("mlp")["figures"][unsure] + 0.2
    assert card("specialist")["figures"][damaged] > card("mlp")["figures"][damaged] + 0.05
    assert microseconds(run("specialist")) > 2 * microseconds(run("mlp"))


def test_quality_accepts_scans_and_drawings_and_refuses_ruins() -> None:
    figures = dict(card("quality")["figures"])
    assert figures["accepted_held_out_scans"] >= 0.97
    assert min(value for name, value in figures.items() if name.startswith("accepted")) >= 0.95
    half_covered = figures.pop("refused_photographs_half_covered")  # a half of a digit is often another digit
    assert half_covered >= 0.5
    assert min(value for name, value in figures.items() if name.startswith("refused")) >= 0.9
    assert figures["refused_noise"] >= 0.97


def test_three_voters_err_on_different_scans() -> None:
    scans = held_out()
    damaged = degrade(scans.features, np.random.default_rng(0))
    wrong = [set(np.flatnonzero(run(name)(damaged)[0] != scans.labels)) for name in ("linear", "svm", "mlp")]
    all_wrong, any_wrong = set.intersection(*wrong), set.union(*wrong)
    assert len(all_wrong) < len(any_wrong) / 3


@pytest.mark.full
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", MODELS)
def test_training_again_gives_the_committed_model(name: str) -> None:
    again = runner(export(retrained(name), name))
    features = all_scans().features
    assert np.mean(again(features)[0] == run(name)(features)[0]) >= 0.99
    assert mean_confidence(again, features) == pytest.approx(mean_confidence(run(name), features), abs=0.005)
    assert retrained(name).rows == card(name)["training"]["rows"]


@pytest.mark.full
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", MODELS)
def test_onnx_says_what_scikit_learn_says_on_every_scan(name: str) -> None:
    classifier = retrained(name).classifier
    features = all_scans().features
    labels, probabilities = runner(export(retrained(name), name))(features)
    assert np.array_equal(labels, classifier.predict(features))
    assert np.abs(probabilities - classifier.predict_proba(features)).max() < 1e-4
