"""What submitting and fetching later costs beside waiting (A9), and what it saves: `python -m benchmarks.delay`

One client sends the same picture to `synchronous` and to `asynchronous`, in turn. A letter is answered when it is read.
A job is answered when it is kept; its result is then waited for at its address. With a quick model the queue's way is
the delay; with a slow one it is lost in the model's time, and the client is free long before.
"""

import argparse
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

import httpx
from rich.console import Console

from benchmarks.support.machine import begin
from benchmarks.support.report import show_table
from tests.support.models.onnx_models import slow_pixels, slow_reader
from tests.support.samples import MLP
from tests.support.stack import Stack, predictor_url, stack_of

COLUMNS = ("model", "way", "p50 ms until the client is free", "p50 ms until it has the result", "/ synchronous")
QUIET = {"log_level": "WARNING", "model_threads": 1}


def main() -> None:
    """Measure both ways, with both models."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--letters", type=int, default=300)
    letters = parser.parse_args().letters
    begin()
    rows = []
    with TemporaryDirectory() as folder:
        slow = slow_reader(Path(folder) / "mlp.onnx")
        models = {
            "quick": (str(MLP), 1.0, letters),
            "100 ms": (slow, 0.1, letters // 10),
        }
        for name, (model, seconds, number) in models.items():
            with ExitStack() as stack:
                office = stack.enter_context(stack_of("synchronous"))
                queue = stack.enter_context(stack_of("asynchronous"))
                batched = QUIET | {"model_uri": model, "batching": "on"}
                office.start("predictor", **batched)
                office.start("synchronous", predictor_url=predictor_url(office, "http"), log_level="WARNING")
                for service in ("redis", "asynchronous", "predictor"):
                    queue.start(service, **(batched if service == "predictor" else {}))
                rows += compared(name, office, queue, slow_pixels(seconds), number)
    show_table(COLUMNS, rows, Console())


def compared(model: str, office: Stack, queue: Stack, picture: object, number: int) -> list[list[str]]:
    """A row for each way."""
    waited, free, fetched = [], [], []
    for _ in range(number + 10):
        started = perf_counter()
        letter = done(office.front.client.post("/letters", json=picture)).json()
        waited.append(perf_counter() - started)
        assert not letter["degraded"]
        started = perf_counter()
        accepted = done(queue.front.client.post("/jobs", json=picture))
        free.append(perf_counter() - started)
        job = done(queue.front.client.get(accepted.headers["location"], params={"wait": 10})).json()
        fetched.append(perf_counter() - started)
        assert job["status"] == "done"
    ratios = [both / one for both, one in zip(fetched[10:], waited[10:], strict=True)]
    return [
        [model, "synchronous", ms(waited), ms(waited), "1.0"],
        [model, "asynchronous", ms(free), ms(fetched), f"{median(ratios):.1f}"],
    ]


def done(answer: httpx.Response) -> httpx.Response:
    """The answer, if it is a success."""
    assert answer.is_success, answer.text
    return answer


def ms(seconds: list[float]) -> str:
    """The median without the first ten, in milliseconds."""
    return f"{median(seconds[10:]) * 1e3:.1f}"


if __name__ == "__main__":
    main()
