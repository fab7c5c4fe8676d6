"""What one request is made of, in microseconds: `python -m benchmarks.pieces`

Each piece is what web_single itself calls, alone in a loop, so that everything is in the processor's caches: within a
server it costs more. What requests share is measured for one alone and for 32 at once.
"""

import asyncio
import os
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from functools import partial
from tempfile import TemporaryFile

import numpy as np
import uvloop
from pydantic import TypeAdapter
from pydantic_core import to_json
from rich.console import Console

from benchmarks.support.load.questions import PICTURE
from benchmarks.support.loop_pieces import loop_pieces
from benchmarks.support.machine import part_cpus
from benchmarks.support.report import show_table
from benchmarks.support.rounds import SMALL_MODEL
from benchmarks.support.stopwatch import MANY, Piece, alone
from common.domain import digits
from common.inference.model import Model
from common.prediction.input_decoder import from_json
from common.telemetry.metrics import ServiceMetrics
from common.telemetry.tracing import begin_span

COLUMNS = ("piece", "requests at once", "µs/request")
LONGEST_SECONDS = 60.0
"""An application that never answers must not hold us up."""


def main() -> None:
    """Measure on the server's CPU, and print a table."""
    os.sched_setaffinity(0, part_cpus().server)
    os.environ |= {"MODEL_URI": str(SMALL_MODEL), "MODEL_THREADS": "1", "LOG_LEVEL": "INFO", "LOG_FORMAT": "json"}
    console = Console(file=sys.stdout, highlight=False)
    with TemporaryFile("w") as log, redirect_stdout(log):  # our request log goes to a file, as in online.py
        pieces = [*json_pieces(), *other_pieces(), *uvloop.run(asyncio.wait_for(loop_pieces(), LONGEST_SECONDS))]
    show_table(COLUMNS, [[name, str(requests), f"{seconds * 1e6:.1f}"] for name, requests, seconds in pieces], console)


def json_pieces() -> Iterator[Piece]:
    """From the body to an array, and from probabilities to the answer."""
    body = PICTURE.encode()
    picture, model = TypeAdapter(digits.Picture), digits.ModelRef(name="mlp", version="3f5a9c0b7e21")
    pixels = picture.validate_json(body).pixels
    probabilities = np.full((1, 10), 0.1, np.float32)
    digit = digits.Digit.model_validate(digits.to_outputs({digits.OUTPUT: probabilities}, model)[0])
    yield alone("pydantic: a picture, validate_json", partial(picture.validate_json, body))
    yield alone("numpy: its pixels as an array", lambda: np.array([pixels], np.float32))
    yield alone("both, and our checks: from_json", partial(from_json, body, 1, len(body)))
    yield alone("pydantic: a digit, model_dump_json", digit.model_dump_json)
    answer = lambda: to_json(digits.to_outputs({digits.OUTPUT: probabilities}, model)[0])  # noqa: E731
    yield alone("probabilities as JSON: to_outputs", answer)


def other_pieces() -> Iterator[Piece]:
    """The inference, and what is written down."""
    model, metrics = Model.load(str(SMALL_MODEL), threads=1), ServiceMetrics()
    for rows in (1, MANY):
        inputs = {model.inputs[0].name: np.ones((rows, digits.FEATURES), np.float32)}
        yield alone("onnxruntime: the small model", partial(model.run, inputs), rows)
    yield alone("trace: begin_span", begin_span)
    yield alone("prometheus: count and observe", partial(metrics.request, "POST", "/predict", 200, 1e-3))


if __name__ == "__main__":
    main()
