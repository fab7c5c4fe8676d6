"""What is read: four measurements of an iris; predicted is its species. `common/domain/` explains these names."""

from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

TITLE = "Name an iris"
DESCRIPTION = "Four measurements give a species; a JSON list of flowers gives the list of their species."
LABEL, LABELS = "species", ("setosa", "versicolor", "virginica")
OUTPUTS = ("probabilities",)
EXAMPLE = {"sepal_length": 6.1, "sepal_width": 2.8, "petal_length": 4.0, "petal_width": 1.3}
EXPECTED = "expected four lengths in cm, for example " + str(EXAMPLE).replace("'", '"')
MEDIA_TYPES: dict[str, Any] = {}
Cm = Annotated[float, Field(gt=0, le=30, allow_inf_nan=False)]


class Settings(BaseModel): ...


class Flower(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", json_schema_extra={"examples": [dict[str, Any](EXAMPLE)]})
    sepal_length: Cm
    sepal_width: Cm
    petal_length: Cm
    petal_width: Cm


class ModelRef(BaseModel):
    name: str
    version: str


class Species(BaseModel):
    species: str
    confidence: float
    probabilities: list[float]
    model: ModelRef


Input, Output = Flower, Species


def to_rows(items: list[Flower]) -> Any:
    return {"measurements": np.array([list(item.model_dump().values()) for item in items], np.float32)}


def to_items(rows: Any) -> list[Flower]:
    return [Flower.model_construct(**dict(zip(EXAMPLE, row, strict=True))) for row in rows["measurements"].tolist()]


def to_outputs(outputs: Any, model: ModelRef) -> list[dict[str, Any]]:
    rows = outputs["probabilities"].astype(float).round(6).tolist()
    return [{"species": LABELS[np.argmax(r)], "confidence": max(r), "probabilities": r, "model": model} for r in rows]


def from_columns(columns: Any) -> tuple[Any, list[str | None]]:
    table = np.stack([columns[name] for name in EXAMPLE], axis=1)
    good = np.all((table > 0) & (table <= 30), axis=1)
    return {"measurements": table}, [None if fits else "expected four lengths above 0, at most 30 cm" for fits in good]


def to_columns(outputs: Any) -> Any:
    table = outputs["probabilities"]
    return {"species": np.array(LABELS)[table.argmax(axis=1)], "confidence": table.max(axis=1)}


def check(model: Any) -> str | None:
    if [spec.shape[1:] for spec in model.inputs] == [(4,)] and (3,) in [spec.shape[1:] for spec in model.outputs]:
        return None
    return f"the model {model.name} names no iris: expected one input of 4 numbers a row and one output of 3"
