"""The `quality` model on pictures as clients send them: photographs of digits are legible, other marks are not.

The pictures are drawn by other programs than those of training. Only those count that `common/domain` does not refuse.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress

import numpy as np
import pytest

from common.domain import digits, ink
from common.training.data import Features
from common.training.measure import runner
from tests.support.inputs.drawn_letters import letters
from tests.support.inputs.no_digits import KINDS, no_digits
from tests.support.inputs.photographs import LIGHTS, photographs
from tests.support.inputs.pictures import COMMON, MAX_PIXELS

full = pytest.mark.full
quality = runner((COMMON / "models" / "quality.onnx").read_bytes())


def read(pictures: Iterable[bytes]) -> Iterator[Features]:
    """The features, shape (64,), of each picture that is not refused."""
    for picture in pictures:
        with suppress(ink.InvalidImage):
            yield digits.from_image(picture, MAX_PIXELS)


def share_of_legible(pictures: Iterable[bytes]) -> float:
    return float(quality(np.stack([*read(pictures)]))[0].mean())


@pytest.mark.parametrize("each", [1, pytest.param(5, marks=full)])
def test_of_100_photographs_of_digits_at_least_95_are_legible(each: int) -> None:
    taken = (photograph for light in LIGHTS for _, photograph in photographs(light, each, seed=each))
    assert share_of_legible(taken) >= 0.95


@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=full)])
def test_of_100_letters_at_most_10_are_legible(count: int) -> None:
    assert share_of_legible(letters(count, seed=count)) <= 0.1


@full
def test_of_100_pictures_of_no_digit_at_most_one_is_legible() -> None:
    legible = [quality(features[None])[0][0] for kind in KINDS for features in read(no_digits(kind, 50, seed=5))]
    assert sum(legible) <= 0.01 * 50 * len(KINDS)
