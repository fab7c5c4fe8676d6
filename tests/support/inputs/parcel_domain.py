"""A domain unlike the others: a regression with two inputs of different types and shapes, for copies of patterns."""

from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

TITLE, DESCRIPTION = "Price a parcel", "Weights and a zone give a price; a list gives a list."
LABEL, LABELS = "price", ()
OUTPUTS = ("price",)
EXAMPLE = {"weights": [1.5, 2.0, 0.5], "zone": 2}
EXPECTED = "expected three weights in kg and a zone"
MEDIA_TYPES: dict[str, Any] = {}


class Settings(BaseModel): ...


class Input(BaseModel):
    model_config = ConfigDict(extra="forbid", title="Parcel")
    weights: tuple[float, float, float]
    zone: int


class ModelRef(BaseModel):
    name: str
    version: str


class Output(BaseModel):
    price: float
    model: ModelRef


def to_rows(items: list[Input]) -> Any:
    weights = np.array([item.weights for item in items], np.float32)
    return {"weights": weights, "zone": np.array([[item.zone] for item in items], np.int64)}


def to_items(rows: Any) -> list[Input]:
    pairs = zip(rows["weights"].tolist(), rows["zone"].tolist(), strict=True)
    return [Input(weights=weights, zone=zone) for weights, (zone,) in pairs]


def to_outputs(outputs: Any, model: ModelRef) -> list[dict[str, Any]]:
    return [{"price": price, "model": model} for (price,) in outputs["price"].tolist()]


def from_columns(columns: Any) -> tuple[Any, list[str | None]]:
    known = np.isfinite(columns["zone"])
    zone = np.where(known, columns["zone"], 0).astype(np.int64)[:, np.newaxis]
    return {"weights": columns["weights"], "zone": zone}, [None if good else "zone: expected one" for good in known]


def to_columns(outputs: Any) -> Any:
    return {"price": outputs["price"][:, 0]}


def check(model: Any) -> str | None:
    names = {spec.name for spec in model.inputs}
    return None if names == {"weights", "zone"} else f"the model {model.name} prices no parcels"
