"""Which engines are installed: Dask and Spark are large, so each has an image of its own."""

from importlib.util import find_spec

from batch.command_line import Engine

PACKAGES: dict[Engine, str] = {"dask": "distributed", "spark": "pyspark"}


class EngineMissing(Exception):
    """The engine is not installed here; the message says what has it."""


def require_engine(engine: Engine) -> None:
    """Raise `EngineMissing` unless this Python can run the engine."""
    if engine in PACKAGES and not find_spec(PACKAGES[engine]):
        raise EngineMissing(
            f"engine: {engine} is not installed here. Use the image serving-patterns-batch-{engine} "
            f"(docker compose up batch-{engine}), or install batch/requirements-{engine}.txt"
        )
