"""JSON in, digits out: which bodies are pictures, how the others are refused, and how an answer looks."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st
from numpy.typing import NDArray
from pydantic_core import to_json

from common.domain import digits
from common.prediction.input_decoder import from_json
from common.service.problems import Problem
from common.training.data import all_scans, held_out
from tests.support.inputs.pictures import only_features_or_a_problem, read

MODEL = digits.ModelRef(name="mlp", version="0123456789ab")
PIXELS = [cell for row in digits.SEVEN for cell in row]


def to_digits(probabilities: NDArray[Any]) -> list[digits.Digit]:
    return [
        digits.Digit.model_validate(fields) for fields in digits.to_outputs({"probabilities": probabilities}, MODEL)
    ]


def body(value: object) -> bytes:
    return json.dumps(value).encode()


def with_pixel(value: object, place: int = 12) -> dict[str, list[object]]:
    return {"pixels": [*PIXELS[:place], value, *PIXELS[place + 1 :]]}


def test_one_picture_gives_a_row_and_a_list_a_row_for_each() -> None:
    one, many = from_json(body({"pixels": PIXELS}), 10, 65_536)
    assert (one["features"].tolist(), one["features"].dtype.name, many) == ([PIXELS], "float32", False)
    three, many = from_json(b" \n" + body([{"pixels": PIXELS}] * 3), 3, 65_536)
    assert (three["features"].tolist(), many) == ([PIXELS] * 3, True)


def test_every_scan_as_json_has_the_same_features() -> None:
    features = all_scans().features
    assert np.array_equal(
        from_json(body([{"pixels": scan.tolist()} for scan in features]), 2000, 65_536)[0]["features"], features
    )


@pytest.mark.parametrize(
    ("data", "status", "message"),
    {
        "empty": (b"", 400, "not JSON"),
        "not JSON": (b"seven", 400, "not JSON"),
        "not UTF-8": (b'{"pixels": "\xff"}', 400, "not JSON"),
        "cut": (body({"pixels": PIXELS})[:-3], 400, "not JSON"),
        "deep list": (b"[" * 100_000, 400, "recursion"),
        "deep object": (b'{"pixels":' * 100_000, 400, "recursion"),
        "endless number": (body(with_pixel(0)).replace(b" 0,", b"9" * 5000 + b",", 1), 400, "number out of range"),
        "empty list": (b"[]", 422, "empty list"),
        "empty object": (b"{}", 422, "pixels: Field required"),
        "null": (b"null", 422, "got null"),
        "list of null": (b"[null]", 422, "[0]: Input should be an object"),
        "63 pixels": (body({"pixels": PIXELS[1:]}), 422, "not 63"),
        "65 pixels": (body({"pixels": [*PIXELS, 0]}), 422, "not 65"),
        "over 16": (body([{"pixels": PIXELS}] * 3 + [with_pixel(16.01)]), 422, "[3].pixels[12]: "),
        "under 0": (body(with_pixel(-1)), 422, "pixels[12]: Input should be greater than or equal to 0, got -1"),
        "NaN": (body(with_pixel(float("nan"))), 422, "got NaN"),
        "infinity": (body(with_pixel(float("inf"))), 422, "got Infinity"),
        "1e999": (body(with_pixel(1)).replace(b" 1,", b"1e999,", 1), 422, "finite"),
        "pixel null": (body(with_pixel(None)), 422, "got null"),
        "pixel string": (body(with_pixel("8")), 422, 'got "8"'),
        "pixel boolean": (body(with_pixel(True)), 422, "got true"),
        "long string": (body({"pixels": "8" * 100_000}), 422, "…"),
        "no ink": (body({"pixels": [0] * 64}), 422, "without ink"),
        "no ink in a list": (body([{"pixels": PIXELS}, {"pixels": [0.0] * 64}]), 422, "[1].pixels"),
        "unknown key": (body({"pixels": PIXELS, "pixel": 1}), 422, "pixel: Extra inputs"),
        "too many": (body([{"pixels": PIXELS}] * 11), 413, "at most 10 pictures, got 11"),
    }.values(),
)
def test_json_that_is_no_picture_is_refused_and_the_field_named(data: bytes, status: int, message: str) -> None:
    with pytest.raises(Problem) as caught:
        from_json(data, 10, 65_536)
    assert caught.value.status_code == status
    assert message in caught.value.detail
    assert len(caught.value.detail) < 400


KEYS = st.text(max_size=3) | st.just("pixels")
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=3),
)
NEARLY_PICTURE = st.fixed_dictionaries({"pixels": st.lists(st.floats(-1, 17), min_size=63, max_size=65)})


@given(st.binary(max_size=200) | (ANY_JSON | NEARLY_PICTURE | st.lists(NEARLY_PICTURE, max_size=3)).map(body))
def test_whatever_json_comes_only_features_or_a_problem_result(data: bytes) -> None:
    only_features_or_a_problem(lambda: from_json(data, 2, 65_536)[0]["features"])


def test_digit_is_the_likeliest_and_its_probability_the_confidence() -> None:
    probabilities = read(held_out().features)[1]
    for row, digit in zip(probabilities, to_digits(probabilities), strict=True):
        assert digit.digit == row.argmax()
        assert digit.confidence == max(digit.probabilities) == pytest.approx(row.max(), abs=1e-6)
        assert digit.probabilities == pytest.approx(row.tolist(), abs=1e-6)
        assert digit.model == MODEL


def test_json_out_is_the_digits_with_six_decimals() -> None:
    probabilities = read(held_out().features[:3])[1]
    expected = [digit.model_dump() for digit in to_digits(probabilities)]
    written = to_json(digits.to_outputs({"probabilities": probabilities}, MODEL))
    assert json.loads(written) == expected
    assert len(written) < 3 * 250


def test_example_in_the_documentation_is_a_seven() -> None:
    rows, _ = from_json(body(digits.Picture.model_json_schema()["examples"][0]), 1, 65_536)
    assert to_digits(read(rows["features"])[1])[0].digit == 7
