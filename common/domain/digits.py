"""Handwritten digits: a picture of a digit comes in, a digit goes out. How ink becomes features is in `ink.py`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, FailFast, Field
from pydantic.config import JsonDict

from common.domain import ink
from common.domain.errors import InvalidInput

TITLE = "Read a digit"
DESCRIPTION = "A picture gives a digit; a JSON list of pictures gives the list of their digits, in order."

FEATURES = 64
LABELS = tuple("0123456789")
OUTPUT = "probabilities"
ROW = np.dtype([("features", "<f4", (FEATURES,))])
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

Rows = NDArray[np.void]
"""Of dtype `ROW`, shape (n,)."""
Pixel = Annotated[float, Field(ge=0, le=ink.FULL_CELL, allow_inf_nan=False)]


class Picture(BaseModel):
    """A scan of one digit on an 8x8 grid."""

    model_config = ConfigDict(strict=True, extra="forbid", json_schema_extra={"examples": [EXAMPLE]})
    # FailFast: an error names one wrong number, so a long list of wrong pictures must not build a million errors.
    pixels: Annotated[list[Pixel], FailFast()] = Field(
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


def to_rows(pictures: Sequence[Picture]) -> Rows:
    """n pictures -> n rows; raises `InvalidInput` for one without ink."""
    rows = _rows(np.array([picture.pixels for picture in pictures], dtype=np.float32))
    for number, picture in enumerate(pictures):
        if not any(picture.pixels):
            raise InvalidInput("pixels: got a picture without ink", item=number)
    return rows


def to_input(row: np.void) -> dict[str, Any]:
    """A row -> the fields of its `Picture`."""
    return {"pixels": row["features"].tolist()}


def from_image(data: bytes, max_pixels: int) -> NDArray[np.float32]:
    """PNG or JPEG bytes -> features of shape (64,), 0 to 16.

    Raises `InvalidInput`: 400 damaged, 413 more than `max_pixels`, 415 another format, 422 no ink.
    """
    return ink.to_features(ink.find_ink(ink.decode(data, max_pixels)))


def _image_row(data: bytes, max_pixels: int) -> Rows:
    return _rows(from_image(data, max_pixels)[np.newaxis])


MEDIA_TYPES: Mapping[str, Callable[[bytes, int], Rows]] = {"image/png": _image_row, "image/jpeg": _image_row}

COLUMNS: Mapping[str, int] = {"pixels": FEATURES}
"""How many numbers an item has in each column; 0 for a single number."""

Columns = Mapping[str, NDArray[np.float32]]


def check_columns(columns: Columns) -> list[tuple[NDArray[np.bool_], str]]:
    """What each item must fulfil: which of the n items do, and the reason to reject the others. NaN is missing."""
    pixels = columns["pixels"]
    in_range = np.asarray(((pixels >= 0) & (pixels <= ink.FULL_CELL)).all(axis=1))
    return [
        (in_range, f"pixels: expected numbers from 0 to {ink.FULL_CELL}"),
        (np.asarray(pixels.any(axis=1)), "pixels: a picture without ink"),
    ]


def from_columns(columns: Columns) -> Rows:
    """Columns of shape (n, 64) -> n rows."""
    return _rows(columns["pixels"])


def scores(outputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
    """A model's outputs -> the probability of each digit, shape (n, 10)."""
    if OUTPUT in outputs:
        return outputs[OUTPUT]
    return next(
        values for values in outputs.values() if values.dtype.kind == "f" and values.shape[1:] == (len(LABELS),)
    )


def to_outputs(scores: NDArray[np.float32], model: ModelRef) -> list[dict[str, Any]]:
    """Probabilities of shape (n, 10) -> the fields of n `Digit`s: the likeliest each, and how sure the model is."""
    rows: list[list[float]] = scores.astype(np.float64).round(DECIMALS).tolist()
    best = [(row, max(row)) for row in rows]
    return [
        {"digit": row.index(highest), "confidence": highest, "probabilities": row, "model": model}
        for row, highest in best
    ]


class Tensor(Protocol):
    """An input or output of a model: -1 in a shape is an axis of any length; `labels` name the columns, if given."""

    @property
    def name(self) -> str: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def labels(self) -> tuple[str | int, ...]: ...


class Model(Protocol):
    """A loaded model, as `check` sees it."""

    @property
    def inputs(self) -> Sequence[Tensor]: ...
    @property
    def outputs(self) -> Sequence[Tensor]: ...

    def run(self, inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Its outputs for these inputs."""
        ...


def check(model: Model) -> str | None:
    """Why a model reads no digits; None if it does.

    A reader takes one input of 64 numbers a row and gives one output of 10; its labels, where it has any, are 0 to 9.
    """
    return None if _reads_digits(model) else "reads no digits"


def _reads_digits(model: Model) -> bool:
    if len(model.inputs) != 1:
        return False
    rows = model.inputs[0]
    if rows.shape[1:] != (FEATURES,) or rows.dtype.kind != "f":
        return False
    tables = [one for one in model.outputs if one.dtype.kind == "f" and one.shape[1:] == (len(LABELS),)]
    labels = [one for one in model.outputs if one.dtype.kind in "iO" and len(one.shape) == 1]
    sample = model.run({rows.name: np.zeros((1, FEATURES), rows.dtype)})
    if len(tables) != 1 or any(str(sample[spec.name][0]) not in LABELS for spec in labels):
        return False
    columns = [str(label) for label in tables[0].labels]
    return columns in ([], list(LABELS))


def _rows(features: NDArray[np.float32]) -> Rows:
    """Features of shape (n, 64) -> n rows, without a copy."""
    return np.ascontiguousarray(features).view(ROW)[:, 0]
