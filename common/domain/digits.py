"""Digits: an item is a picture of one, a prediction what is read in it. How ink becomes a row is in `ink.py`."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, ConfigDict, FailFast, Field
from pydantic.config import JsonDict

from common.domain import ink

Rows = dict[str, NDArray[Any]]

TITLE = "Read a digit"
DESCRIPTION = "A picture gives a digit; a JSON list of pictures gives the list of their digits, in order."
LABEL = "digit"
LABELS = tuple("0123456789")
INPUT, OUTPUT = "features", "probabilities"
"""What a reader's ONNX graph calls its input, shape (n, 64), and the output with a probability for each digit."""
OUTPUTS: tuple[str, ...] = (OUTPUT,)
FEATURES = 64
DECIMALS = 6  # of a probability in JSON; more is noise of 32-bit floats
SEVEN = [
    [0, 0, 7, 8, 13, 16, 15, 1],
    [0, 0, 7, 7, 4, 11, 12, 0],
    [0, 0, 0, 0, 8, 13, 1, 0],
    [0, 4, 8, 8, 15, 15, 6, 0],
    [0, 2, 11, 15, 15, 4, 0, 0],
    [0, 0, 0, 16, 5, 0, 0, 0],
    [0, 0, 9, 15, 1, 0, 0, 0],
    [0, 0, 13, 5, 0, 0, 0, 0],
]
EXAMPLE: JsonDict = {"pixels": [cell for row in SEVEN for cell in row]}
EXPECTED = 'expected {"pixels": [64 numbers from 0 to 16, row by row]}, for example {"pixels": [0, 0, 5, 13, 9, …]}'


class Settings(BaseModel):
    """The environment variables of this domain."""

    max_pixels: int = Field(
        4 * 2**20, gt=0, description="width x height of a PNG or WebP; a JPEG may have 12 times that"
    )


def require_ink(pixels: list[float]) -> list[float]:
    """The pixels of a picture that is not blank."""
    if not any(pixels):
        raise ValueError("got a picture without ink")
    return pixels


Pixel = Annotated[float, Field(ge=0, le=ink.FULL_CELL, allow_inf_nan=False)]


class Picture(BaseModel):
    """A scan of one digit on an 8x8 grid."""

    model_config = ConfigDict(strict=True, extra="forbid", json_schema_extra={"examples": [EXAMPLE]})
    # FailFast: one error is reported, so a long list of wrong pictures must not build a million of them.
    pixels: Annotated[list[Pixel], FailFast(), AfterValidator(require_ink)] = Field(
        min_length=FEATURES, max_length=FEATURES, description="Ink per cell, 0 paper to 16 all ink, row by row."
    )


class ModelRef(BaseModel):
    """Which model answered."""

    name: str = Field(examples=["mlp"])
    version: str = Field(examples=["3f5a9c0b7e21"], description="The first 12 hex digits of the model file's SHA-256.")


class Digit(BaseModel):
    """What a model reads in a picture."""

    digit: int = Field(ge=0, le=9, examples=[7])
    confidence: float = Field(description="The probability of `digit`: the largest of the ten.", examples=[0.98])
    probabilities: list[float] = Field(
        min_length=10, max_length=10, examples=[[0.0, 0.01, 0.0, 0.0, 0.0, 0.0, 0.0, 0.98, 0.01, 0.0]]
    )
    model: ModelRef


def to_rows(items: Sequence[Picture]) -> Rows:
    """Features of shape (n, 64), float32, 0 to 16."""
    return {INPUT: np.array([item.pixels for item in items], np.float32)}


def to_items(rows: Rows) -> list[Picture]:
    """The opposite."""
    return [Picture.model_construct(pixels=row) for row in rows[INPUT].tolist()]


def from_image(data: bytes, max_pixels: int) -> NDArray[np.float32]:
    """PNG, JPEG or WebP bytes -> features of shape (64,), 0 to 16.

    Raises `InvalidImage`: 400 damaged, 413 more than `max_pixels`, 415 another format, 422 no ink.
    """
    return ink.to_features(ink.require_digit(ink.find_ink(ink.decode(data, max_pixels))))


def image_to_row(data: bytes, settings: Settings) -> Rows:
    """The same as a row."""
    return {INPUT: from_image(data, settings.max_pixels)[np.newaxis]}


MEDIA_TYPES: dict[str, Callable[[bytes, Settings], Rows]] = dict.fromkeys(
    ("image/png", "image/jpeg", "image/jpg", "image/webp", "application/octet-stream"), image_to_row
)
"""The bytes say which of them it is, whatever the client says."""


NO_INK = "pixels: a picture without ink"
OUT_OF_RANGE = f"pixels: expected numbers from 0 to {ink.FULL_CELL}"


def from_columns(columns: dict[str, NDArray[np.float32]]) -> tuple[Rows, list[str | None]]:
    """The column `pixels`, shape (n, 64) -> features, and for each row why it is no picture; NaN is out of range."""
    features = columns["pixels"]
    most = features.max(axis=1, initial=0.0)
    if features.min(initial=0.0) >= 0 and most.max(initial=0.0) <= ink.FULL_CELL and most.all():
        return {INPUT: features}, []  # as nearly always: nothing is wrong, and NaN compares as wrong
    reasons: list[str | None] = [None] * len(features)
    out_of_range = ~((features >= 0) & (features <= ink.FULL_CELL)).all(axis=1)
    for rejected, reason in ((most == 0, NO_INK), (out_of_range, OUT_OF_RANGE)):
        for place in np.flatnonzero(rejected):
            reasons[place] = reason
    return {INPUT: features}, reasons


def to_outputs(outputs: Rows, model: ModelRef) -> list[dict[str, object]]:
    """Probabilities of shape (n, 10) -> n digits: the likeliest each, and how sure the model is."""
    table: list[list[float]] = outputs[OUTPUT].astype(np.float64).round(DECIMALS).tolist()
    digits: list[dict[str, object]] = []
    for row in table:
        highest = max(row)
        digits.append({"digit": row.index(highest), "confidence": highest, "probabilities": row, "model": model})
    return digits


def to_columns(outputs: Rows) -> Rows:
    """The columns `digit` and `confidence`."""
    probabilities = outputs[OUTPUT]
    return {
        "digit": probabilities.argmax(axis=1).astype(np.int8),
        "confidence": probabilities.max(axis=1).astype(np.float32),
    }


def check(model: Any) -> str | None:
    """A reader takes one input of 64 numbers a row and gives one output of 10; its labels, if any, are 0 to 9."""
    refusal = f"the model {model.name} reads no digits: expected"
    rows = model.inputs[0]
    if len(model.inputs) != 1 or rows.shape[1:] != (FEATURES,) or rows.dtype.kind != "f":
        return f"{refusal} one input of {FEATURES} floats a row"
    tables = [spec for spec in model.outputs if spec.dtype.kind == "f" and spec.shape[1:] == (len(LABELS),)]
    if len(tables) != 1:
        return f"{refusal} one output of {len(LABELS)} probabilities a row"
    sample = model.run({rows.name: np.zeros((1, FEATURES), rows.dtype)})
    columns = [str(label) for label in tables[0].labels]
    classes = [str(sample[spec.name][0]) for spec in model.outputs if spec.dtype.kind in "iO" and len(spec.shape) == 1]
    if columns not in ([], [*LABELS]) or not {*classes} <= {*LABELS}:
        return f"{refusal} the labels 0 to 9"
    return None
