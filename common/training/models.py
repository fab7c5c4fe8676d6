"""The five models: what each is, and which part of the material it learns from.

Every function returns the fitted scikit-learn classifier and the rows it has seen. Epochs are fixed, not waited for, so
that a training takes the same time and gives the same model each time.
"""

import warnings
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import VotingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from threadpoolctl import threadpool_limits

from common.training.damage import degrade, illegible
from common.training.data import SEED, Features, Material, Rows, read, stack, warp
from common.training.foreign import FOREIGN
from common.training.photographs import DAMAGE, photograph

REPEATS = 5  # real scans count more than their warped copies
EXPERTS = 6
VOTERS = 3


class Trained(NamedTuple):
    """A fitted classifier with `predict` and `predict_proba`, and how many rows it has seen."""

    classifier: ClassifierMixin
    rows: int


def mlp(material: Material) -> Trained:
    """The everyday reader: one small hidden layer, about 10 us a digit."""
    return _fit(_network((100,), epochs=25, seed=SEED), _everyday(material))


def linear(material: Material) -> Trained:
    """Logistic regression: the plainest reader, and the smallest file."""
    return _fit(make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=200)), _everyday(material))


def svm(material: Material) -> Trained:
    """An RBF support vector machine, its scores made probabilities by Platt's sigmoid on three folds."""
    few = stack(material.scans, *(_first(rows, 2500) for rows in (material.warped, material.drawn)))
    machine = SVC(C=10, gamma=0.0012)
    return _fit(CalibratedClassifierCV(machine, method="sigmoid", cv=3, ensemble=False), few)


def specialist(material: Material) -> Trained:
    """Six large networks that vote and have also learned from damaged scans: slower, and better at low confidence."""
    rng = np.random.default_rng(SEED)
    everyday = _everyday(material)
    damaged = [Rows(degrade(part.features, rng), part.labels) for part in (everyday, material.warped)]
    networks = [(f"expert_{seed}", _network((192, 96), epochs=10, seed=seed)) for seed in range(EXPERTS)]
    return _fit(VotingClassifier(networks, voting="soft", flatten_transform=False), stack(everyday, *damaged))


def quality(material: Material) -> Trained:
    """Legible (1) or not (0): three networks that vote, trained on digits, ruined digits and marks that are none."""
    rng = np.random.default_rng(SEED)
    positives, negatives = _legible(material, rng), _not_legible(material.scans.features, rng)
    labels = np.repeat(np.array([1, 0], np.int64), [len(positives), len(negatives)])
    networks = [(f"network_{seed}", _network((64, 32), epochs=12, seed=seed)) for seed in range(VOTERS)]
    voting = VotingClassifier(networks, voting="soft", flatten_transform=False)
    return _fit(voting, Rows(np.concatenate([positives, negatives]), labels))


def _legible(material: Material, rng: np.random.Generator) -> Features:
    """Real, warped, drawn, damaged and photographed digits. Real ones count most, since nothing else is as varied."""
    scans, warped = material.scans.features, material.warped.features
    damaged = [degrade(scans, rng), *(degrade(warped, rng) for _ in range(3))]
    photographs = np.tile(read(photograph, 500, rng), (6, 1))
    return np.concatenate([np.tile(scans, (40, 1)), warped, warped, material.drawn.features, *damaged, photographs])


def _not_legible(scans: Features, rng: np.random.Generator) -> Features:
    """Ruined scans, unreadable photographs, letters and other marks that are no digit."""
    ruined = [illegible(features, rng).features for features in (scans, warp(scans, rng), warp(scans, rng))]
    unreadable = [read(partial(photograph, damage=damage), 100, rng) for damage in DAMAGE.values()]
    foreign = [read(draw, count, rng) for draw, count in FOREIGN.values()]
    return np.concatenate([*ruined, *(np.tile(features, (5, 1)) for features in unreadable), *foreign])


MODELS: dict[str, Callable[[Material], Trained]] = {
    "mlp": mlp,
    "linear": linear,
    "svm": svm,
    "specialist": specialist,
    "quality": quality,
}


def _everyday(material: Material) -> Rows:
    return stack(*[material.scans] * REPEATS, material.warped, material.drawn)


def _first(rows: Rows, count: int) -> Rows:
    return Rows(rows.features[:count], rows.labels[:count])


def _network(hidden: tuple[int, ...], epochs: int, seed: int) -> MLPClassifier:
    return MLPClassifier(
        hidden, alpha=1e-3, batch_size=256, learning_rate_init=2e-3, max_iter=epochs, random_state=seed
    )


def _fit(classifier: ClassifierMixin, rows: Rows) -> Trained:
    # One thread adds floats in one order, so the same environment gives the same bytes.
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the number of epochs is fixed on purpose
        return Trained(classifier.fit(rows.features, rows.labels), len(rows.labels))
