"""Cost as the work grows, and where each pattern bends: `python -m benchmarks.growth`

Connections, rows of a request, seconds of a model, jobs in the queue: each is raised by itself, and everything else
stays as it is released. The services have one CPU and the load the other. Rows of a batch: `benchmarks.batch_bench`.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import uvloop

from benchmarks.queue_bench import valkey
from benchmarks.support.growing_queue import COLUMNS as QUEUE_COLUMNS, DEPTHS, measure_depth
from benchmarks.support.load import Load, load
from benchmarks.support.machine import part_cpus
from benchmarks.support.proxies import prepare, show
from benchmarks.support.questions import PREDICT, Question
from benchmarks.support.rounds import SMALL_MODEL, WARM_UP_SECONDS
from benchmarks.support.served import Served, served
from common.domain.digits import EXAMPLE
from tests.support.models.onnx_models import slow_pixels, slow_reader

CONNECTIONS = (1, 32, 128, 512)
ROWS = (1, 4, 16, 64)
MODEL_SECONDS = (0.0, 0.001, 0.01, 0.1)
"""Beside the 10 µs of the small model."""
CONTESTANTS = ("minimal", "web_single", "synchronous", "microservice_vertical", "microservice_horizontal")
LOAD_COLUMNS = ("pattern", "connections", "digits/s", "p50 ms", "p99 ms")
ROW_COLUMNS = ("pattern", "rows a request", "requests/s", "rows/s", "p50 ms")
MODEL_COLUMNS = ("pattern", "model ms", "connections", "digits/s", "p50 ms", "p99 ms")


def main() -> None:
    """All tables."""
    arguments = prepare("benchmarks.growth", __doc__ or "")
    seconds = arguments.seconds
    with TemporaryDirectory() as folder:
        show(LOAD_COLUMNS, list(connection_rows(Path(folder), seconds)))
        show(ROW_COLUMNS, list(request_rows(Path(folder), seconds)))
        show(MODEL_COLUMNS, list(model_rows(Path(folder), seconds)))
        with valkey(Path(folder) / "queue") as url:
            show(QUEUE_COLUMNS, [uvloop.run(measure_depth(url, depth)) for depth in DEPTHS])


def ask(one: Served, connections: int, seconds: int, question: Question = PREDICT) -> Load:
    """Over and over."""
    print(f"{one.name}, {connections} connections", file=sys.stderr)
    return load(one.url + one.way.path, connections, seconds, question)


def connection_rows(folder: Path, seconds: int) -> Iterator[tuple[str, ...]]:
    """One digit a request, over more and more connections."""
    with ExitStack() as stack:
        for name in CONTESTANTS:
            one = stack.enter_context(served(name, SMALL_MODEL, part_cpus().server, folder))
            ask(one, 32, WARM_UP_SECONDS)
            for connections in CONNECTIONS:
                done = ask(one, connections, seconds)
                yield name, str(connections), f"{rate(done):,.0f}", f"{done.p50_ms:.2f}", f"{done.p99_ms:.2f}"


def request_rows(folder: Path, seconds: int) -> Iterator[tuple[str, ...]]:
    """web_single reads several digits in one request."""
    with served("web_single", SMALL_MODEL, part_cpus().server, folder) as one:
        for rows in ROWS:
            question = PREDICT._replace(body=json.dumps([EXAMPLE] * rows).encode())
            done = ask(one, 8, seconds, question)
            yield one.name, str(rows), f"{rate(done):,.0f}", f"{rate(done) * rows:,.0f}", f"{done.p50_ms:.2f}"


def model_rows(folder: Path, seconds: int) -> Iterator[tuple[str, ...]]:
    """A model that takes longer and longer, whose batch takes as long as a row."""
    model = Path(slow_reader(folder / "mlp.onnx"))
    for name in ("minimal", "web_single", "synchronous"):
        with served(name, model, part_cpus().server, folder) as one:
            for pause in MODEL_SECONDS:
                question = PREDICT._replace(body=json.dumps(slow_pixels(pause)).encode()) if pause else PREDICT
                for connections in (1, 32):
                    if pause * connections > 1 and name == "minimal":
                        continue  # one after another, they take longer than anyone waits
                    done = ask(one, connections, seconds, question)
                    figures = (f"{rate(done):,.0f}", f"{done.p50_ms:.2f}", f"{done.p99_ms:.2f}")
                    yield name, f"{pause * 1e3 or 0.01:g}", str(connections), *figures


def rate(done: Load) -> float:
    """Requests a second."""
    return done.requests / done.seconds


if __name__ == "__main__":
    main()
