"""Pictures that are no digit are refused, and hardly ever read with confidence; digits in pieces are read."""

from collections.abc import Iterator

import numpy as np
import pytest

from benchmarks.damaged_scans import COLUMNS, rows
from common.domain import digits, ink
from common.training.damage import degrade
from common.training.data import enlarge, held_out
from tests.support.inputs.no_digits import KINDS, PAIRS, no_digits
from tests.support.inputs.pictures import MAX_PIXELS, digit_of, encoded, read

full = pytest.mark.full


def confidences(kind: str, count: int, seed: int) -> Iterator[float]:
    """Of each picture of this kind; 0 if it is refused."""
    for picture in no_digits(kind, count, seed):
        try:
            yield float(read(digits.from_image(picture, MAX_PIXELS)[None])[1].max())
        except ink.InvalidImage as refused:
            assert refused.status == 422
            yield 0.0


@pytest.mark.parametrize("count", [6, pytest.param(100, marks=full)])
def test_of_400_pictures_that_are_no_digit_at_most_5_percent_are_read_with_confidence(count: int) -> None:
    sure = [confidence >= 0.9 for kind in KINDS for confidence in confidences(kind, count, seed=3)]
    assert np.mean(sure) <= 0.05


@pytest.mark.parametrize("kind", PAIRS)
def test_of_50_pairs_of_digits_at_most_4_are_read_with_confidence(kind: str) -> None:
    assert sum(confidence >= 0.9 for confidence in confidences(kind, 50, seed=4)) <= 4


@pytest.mark.parametrize("kind", ["text", "two_digits"])
def test_refusal_says_that_one_digit_is_expected(kind: str) -> None:
    with pytest.raises(ink.InvalidImage, match="expected a picture of one digit, got"):
        digits.from_image(next(no_digits(kind, 1, seed=1)), MAX_PIXELS)


def is_read(picture: bytes, digit: int) -> bool:
    try:
        return digit_of(picture) == digit
    except ink.InvalidImage:
        return False


@pytest.mark.parametrize("count", [40, pytest.param(450, marks=full)])
def test_damaged_scans_are_no_worse_as_pictures(count: int) -> None:
    features, labels = held_out()
    damaged = degrade(features, np.random.default_rng(3))[:count]
    as_pixels = (read(damaged)[0] == labels[:count]).mean()
    as_pictures = [is_read(encoded(enlarge(scan, 128)), label) for scan, label in zip(damaged, labels, strict=False)]
    assert np.mean(as_pictures) >= as_pixels - 0.05


def test_damaged_scan_whose_digit_is_in_pieces_is_read() -> None:
    features, labels = held_out()
    damaged = degrade(features, np.random.default_rng(3))
    in_pieces = [46, 66, 87, 191, 237]  # a column or a row of cells is missing, or much dirt lies beside the digit
    assert all(is_read(encoded(enlarge(damaged[scan], 128)), labels[scan]) for scan in in_pieces)


@full
def test_of_1800_damaged_scans_as_many_are_right_as_before_pictures_of_no_digit_were_refused() -> None:
    _, damaged = rows()
    count = dict(zip(COLUMNS, damaged, strict=True))
    assert int(count["pictures"]) == 1800
    assert int(count["right"]) >= 1474
    assert int(count["wrong"]) <= 326
