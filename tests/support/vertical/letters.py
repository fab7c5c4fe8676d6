"""Letters of the vertical pattern: scans that need one, two or three stages, and what the models themselves answer."""

from functools import cache
from typing import Any

import numpy as np

from common.training.damage import degrade
from common.training.data import Features, Rows, held_out
from common.training.measure import runner
from tests.support.samples import MLP

MODELS = {"quality": "quality", "reader": "mlp", "specialist": "specialist"}
STAGES = list(MODELS)
RUN = {stage: runner(MLP.with_name(f"{model}.onnx").read_bytes()) for stage, model in MODELS.items()}
Answer = dict[str, Any]


def letters(scans: int = 1, seed: int = 1) -> Rows:
    """Every held-out letter, scanned so often on grainy paper: features of shape (450, scans, 64)."""
    rng = np.random.default_rng(seed)
    clean = held_out()
    return Rows(np.stack([degrade(clean.features, rng) for _ in range(scans)], axis=1), clean.labels)


@cache
def low_confidence(scans: int = 1, seed: int = 1) -> Rows:
    """Those of them whose first scan is legible, and read with low confidence."""
    every = letters(scans, seed)
    chosen = [len(expected(letter)[0]) == 3 for letter in every.features]
    return Rows(every.features[chosen], every.labels[chosen])


def expected(letter: Features) -> tuple[list[str], Features | None]:
    """Who is to be asked of a letter, scans of shape (n, 64), and the probabilities that answer it."""
    (quality,), (reading,) = RUN["quality"](letter[:1])[1], RUN["reader"](letter[:1])[1]
    if quality[1] < 0.5:
        return STAGES[:1], None
    if reading.max() >= 0.9:
        return STAGES[:2], reading
    return STAGES, RUN["specialist"](letter)[1].mean(axis=0)


def agrees(answer: Answer, letter: Features) -> None:
    """An answer is what the models say, asked directly."""
    stages, probabilities = expected(letter)
    assert names(answer) == stages
    assert not answer["degraded"]
    if probabilities is None:
        assert (answer["digit"], answer["probabilities"]) == (None, None)
    else:
        assert answer["digit"] == probabilities.argmax()
        np.testing.assert_allclose(answer["probabilities"], probabilities, atol=1e-5)


def picture(scan: Features) -> dict[str, list[float]]:
    """A scan of shape (64,) as it is sent."""
    return {"pixels": scan.tolist()}


def names(answer: Answer) -> list[str]:
    """Who was asked, in order."""
    return [stage["name"] for stage in answer["stages"]]


def illegible(answer: Answer) -> None:
    """No digit, and one stage that says why."""
    assert [answer[name] for name in ("digit", "confidence", "probabilities", "model")] == [None] * 4
    assert (answer["legible"], answer["degraded"]) == (False, False)
    (stage,) = answer["stages"]
    assert (stage["name"], stage["legible"]) == ("quality", False)
