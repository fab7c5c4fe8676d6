"""The domain in one module: a picture of a digit comes in, a digit goes out; replace it to swap the model.

A picture that cannot be read raises `Problem`; nothing else is ever raised. How ink becomes features is in `ink.py`.
"""

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, FailFast, Field, TypeAdapter, ValidationError
from pydantic.config import JsonDict
from pydantic_core import ErrorDetails, to_json as write_json

from common.domain import ink
from common.service.problems import Problem

FEATURES = 64
CLASSES = 10
INPUT, OUTPUT = "features", "probabilities"
"""What a reader's ONNX graph calls its input, shape (n, 64), and the output with a probability for each digit."""
DECIMALS = 6  # of a probability in JSON; more is noise of 32-bit floats
SHOWN = 60  # characters of a wrong value that an error repeats
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

Pixel = Annotated[float, Field(ge=0, le=ink.FULL_CELL, allow_inf_nan=False)]


class Picture(BaseModel):
    """A scan of one digit on an 8x8 grid."""

    model_config = ConfigDict(strict=True, extra="forbid", json_schema_extra={"examples": [EXAMPLE]})
    # FailFast: one error is told, so a long list of wrong pictures must not build a million of them.
    pixels: Annotated[list[Pixel], FailFast()] = Field(
        min_length=FEATURES, max_length=FEATURES, description="Ink per cell, 0 paper to 16 all ink, row by row."
    )


class ModelRef(BaseModel):
    """Which model answered."""

    name: str = Field(examples=["mlp"])
    version: str = Field(examples=["3f5a9c0b7e21"], description="The first 12 hex digits of the model file's SHA-256.")


class Digit(BaseModel):
    """What a reader makes of a picture."""

    digit: int = Field(ge=0, le=9, examples=[7])
    confidence: float = Field(description="The probability of `digit`: the largest of the ten.", examples=[0.98])
    probabilities: list[float] = Field(
        min_length=10, max_length=10, examples=[[0.0, 0.01, 0.0, 0.0, 0.0, 0.0, 0.0, 0.98, 0.01, 0.0]]
    )
    model: ModelRef


_one = TypeAdapter(Picture)
_many = TypeAdapter(Annotated[list[Picture], FailFast()])


def from_image(data: bytes, max_pixels: int) -> NDArray[np.float32]:
    """PNG or JPEG bytes -> features of shape (64,), 0 to 16.

    Raises `Problem`: 400 damaged, 413 more than `max_pixels`, 415 another format, 422 no ink.
    """
    return ink.to_features(ink.find_ink(ink.decode(data, max_pixels)))


def from_json(body: bytes, max_pictures: int) -> tuple[NDArray[np.float32], bool]:
    """A JSON picture, or a list of them -> features of shape (n, 64), and whether it was a list.

    Raises `Problem`: 400 not JSON, 413 more than `max_pictures`, 422 not pictures, or one without ink.
    """
    many = body.lstrip().startswith(b"[")
    try:
        pictures = _many.validate_json(body) if many else [_one.validate_json(body)]
    except ValidationError as error:
        raise _problem(error.errors(include_url=False)[0]) from None
    if not pictures:
        raise Problem(422, f"body: got an empty list; {EXPECTED}")
    if len(pictures) > max_pictures:
        raise Problem(413, f"body: expected at most {max_pictures} pictures, got {len(pictures)}; send them in parts")
    for number, picture in enumerate(pictures):
        if not any(picture.pixels):
            where = f"[{number}].pixels" if many else "pixels"
            raise Problem(422, f"{where}: got a picture without ink; {EXPECTED}")
    return np.array([picture.pixels for picture in pictures], dtype=np.float32), many


def _problem(error: ErrorDetails) -> Problem:
    if error["type"] == "json_invalid":
        return Problem(400, f"body: not JSON ({error['ctx']['error']}); {EXPECTED}")
    where = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in error["loc"])
    where = where.lstrip(".")[:SHOWN] or "body"
    return Problem(422, f"{where}: {error['msg']}, got {_shown(error['input'])}; {EXPECTED}")


def _shown(value: object) -> str:
    """A wrong value as the caller wrote it, in JSON, shortened."""
    text = write_json(value, inf_nan_mode="constants", fallback=str).decode()
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def to_digits(probabilities: NDArray[np.float32], model: ModelRef) -> list[Digit]:
    """Probabilities of shape (n, 10) -> n digits: the likeliest each, and how sure the model is."""
    return [Digit.model_validate(reading) for reading in _readings(probabilities, model)]


def to_json(probabilities: NDArray[np.float32], model: ModelRef, many: bool) -> bytes:
    """The same as JSON: a list if `many`, else the first alone. Skips `Digit`, half as much time again."""
    readings = _readings(probabilities, model)
    return write_json(readings if many else readings[0])


def _readings(probabilities: NDArray[np.float32], model: ModelRef) -> list[dict[str, object]]:
    """The fields of each `Digit`."""
    rows: list[list[float]] = probabilities.astype(np.float64).round(DECIMALS).tolist()
    return [
        {"digit": row.index(highest := max(row)), "confidence": highest, "probabilities": row, "model": model}
        for row in rows
    ]
