"""A domain with strings: the price of a house, of which the model gets two numbers and the name of a district."""

from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

TITLE, DESCRIPTION = "Price a house", "Area, rooms and district give a price."
LABEL, LABELS = "price", ()
OUTPUTS = ("price", "region")
EXAMPLE = {"area": 50.0, "rooms": 2, "district": "north"}
EXPECTED = "expected area, rooms and district"
MEDIA_TYPES: dict[str, Any] = {}
STRING = "<U20"


class Settings(BaseModel): ...


class Input(BaseModel):
    model_config = ConfigDict(title="House")
    area: float
    rooms: int
    district: Annotated[str, Field(max_length=20)]


class ModelRef(BaseModel):
    name: str
    version: str


class Output(BaseModel):
    price: float
    region: str
    model: ModelRef


def to_rows(items: list[Input]) -> Any:
    sizes = np.array([[item.area, item.rooms] for item in items], np.float32)
    return {"size": sizes, "district": np.array([[item.district] for item in items], STRING)}


def to_items(rows: Any) -> list[Input]:
    pairs = zip(rows["size"].tolist(), rows["district"].tolist(), strict=True)
    return [Input(area=area, rooms=int(rooms), district=district) for (area, rooms), (district,) in pairs]


def to_outputs(outputs: Any, model: ModelRef) -> list[dict[str, Any]]:
    pairs = zip(outputs["price"].tolist(), outputs["region"].tolist(), strict=True)
    return [{"price": price, "region": region, "model": model} for (price,), (region,) in pairs]


def from_columns(columns: Any) -> tuple[Any, list[str | None]]:
    rows = len(next(iter(columns.values())))
    return to_rows([]), ["a district is text, and columns are numbers"] * rows


def to_columns(outputs: Any) -> Any:
    return {name: values[:, 0] for name, values in outputs.items()}


def check(model: Any) -> str | None:
    names = {spec.name for spec in model.inputs}
    return None if names == {"size", "district"} else f"the model {model.name} prices no houses"
