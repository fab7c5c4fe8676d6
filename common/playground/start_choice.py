"""A setting that the whole pattern is started with, as the page shows it: the value that runs, and the others."""

from typing import NamedTuple, get_args

from pydantic_settings import BaseSettings


class StartChoice(NamedTuple):
    """A setting with few values: its environment variable, all of them, the one that is set, and what it decides."""

    name: str
    values: tuple[str, ...]
    current: str
    description: str


def start_choice(settings: BaseSettings, field: str) -> StartChoice:
    """The choice that this field of the settings is, whose type is a `Literal` of strings."""
    declared = type(settings).model_fields[field]
    return StartChoice(
        field.upper(), get_args(declared.annotation), getattr(settings, field), declared.description or ""
    )
