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
from benchmarks.support.large_model import write_large_model
from benchmarks.support.load.questions import PREDICT, Question
from benchmarks.support.load.wrk import LoadError, load
from benchmarks.support.machine import part_cpus
from benchmarks.support.rounds import SMALL_MODEL, WARM_UP_SECONDS
from benchmarks.support.servers.pattern import Served, served
from benchmarks.support.servers.proxies import prepare, show
from common.domain.digits import EXAMPLE
from tests.support.models.onnx_models import BATCHED, slow_pixels, slow_reader

CONNECTIONS = (1, 32, 128, 512)
ROWS = (1, 4, 16, 64)
SLOW_SECONDS = (0.01, 0.1)
"""Of a model, beside the small one and the large one."""
CONTESTANTS = ("minimal", "web_single", "synchronous", "microservice_vertical", "microservice_horizontal")
STRICT = {"FALLBACK": "false"}
"""A letter of `synchronous` without its digit is a failure here."""
LOAD_COLUMNS = ("pattern", "connections", "digits/s", "p50 ms", "p99 ms")
ROW_COLUMNS = ("pattern", "rows a request", "digits/s", "p50 ms", "p99 ms")
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


def asked(one: Served, connections: int, seconds: int, question: Question = PREDICT, rows: int = 1) -> tuple[str, ...]:
    """Digits/s, p50 and p99 in ms; where requests fail, that is the bend, and there is no figure."""
    print(f"{one.name}, {connections} connections", file=sys.stderr)
    try:
        done = load(one.url + one.way.path, connections, seconds, question)
    except LoadError as error:
        print(error, file=sys.stderr)
        return "some fail", "-", "-"
    return f"{done.requests / done.seconds * rows:,.0f}", f"{done.p50_ms:.2f}", f"{done.p99_ms:.2f}"


def connection_rows(folder: Path, seconds: int) -> Iterator[tuple[str, ...]]:
    """One digit a request, over more and more connections."""
    with ExitStack() as stack:
        for name in CONTESTANTS:
            one = stack.enter_context(served(name, SMALL_MODEL, part_cpus().server, folder, **STRICT))
            asked(one, 32, WARM_UP_SECONDS)
            for connections in CONNECTIONS:
                yield name, str(connections), *asked(one, connections, seconds)


def request_rows(folder: Path, seconds: int) -> Iterator[tuple[str, ...]]:
    """web_single reads several digits in one request."""
    with served("web_single", SMALL_MODEL, part_cpus().server, folder) as one:
        for rows in ROWS:
            question = PREDICT._replace(body=json.dumps([EXAMPLE] * rows).encode())
            yield one.name, str(rows), *asked(one, 8, seconds, question, rows)


def model_rows(folder: Path, seconds: int) -> Iterator[tuple[str, ...]]:
    """A model that takes longer and longer; a batch of the slow one takes as long as one row."""
    write_large_model(large := folder / "large.onnx")
    slow = Path(slow_reader(folder / "mlp.onnx"))
    for name in ("minimal", "web_single", "synchronous"):
        for model, pause in ((SMALL_MODEL, 0.0), (large, 0.0), *[(slow, pause) for pause in SLOW_SECONDS]):
            label = f"{pause * 1e3:g}" if pause else {SMALL_MODEL: "small: 0.01", large: "large: about 1"}[model]
            question = PREDICT._replace(body=json.dumps(slow_pixels(pause)).encode()) if pause else PREDICT
            with served(name, model, part_cpus().server, folder, **STRICT, **BATCHED) as one:
                for connections in (1, 32):
                    if pause * connections > 1 and name == "minimal":
                        continue  # one after another, they take longer than anyone waits
                    yield name, label, str(connections), *asked(one, connections, seconds, question)


if __name__ == "__main__":
    main()
