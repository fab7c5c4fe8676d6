"""What a hop costs the proxy that makes it: `python -m benchmarks.hops`

The proxy of `synchronous` asks the predictor over REST, over gRPC, or not at all: the breaker of a third proxy is open,
so it falls back at once. What a letter costs more than there is the hop.
"""

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from statistics import median

from benchmarks.support.load.questions import PREDICT
from benchmarks.support.servers.proxies import QUIET, Sample, prepare, proxy, sample, show
from tests.support.stack import predictor_url, stack_of

LETTERS = PREDICT._replace(path="/letters")
CONNECTIONS = (1, 16)
NO_BACKEND = {"predictor_url": "http://127.0.0.1:9/v2/models/mlp", "breaker_failures": 1, "breaker_open_seconds": 1e6}
COLUMNS = ("call", "connections", "letters/s", "p50 ms", "p99 ms", "proxy CPU µs/letter", "of which the hop")

Samples = dict[tuple[str, int], list[Sample]]
"""One of each round, by the way of calling and the number of connections."""


def main() -> None:
    """Measure all ways in turn, round by round."""
    arguments = prepare("benchmarks.hops", __doc__)
    samples: Samples = {}
    with ExitStack() as stack:
        these = stack.enter_context(stack_of("synchronous"))
        these.start("predictor", model_threads=1, **QUIET)
        settings: dict[str, dict[str, object]] = {
            "none": NO_BACKEND,
            "REST": {"predictor_url": predictor_url(these, "http")},
            "gRPC": {"predictor_url": predictor_url(these, "grpc")},
        }
        proxies = {way: stack.enter_context(proxy("synchronous", **settings[way])) for way in settings}
        for server in proxies.values():
            sample(server, LETTERS, max(CONNECTIONS), 1)
        for connections in CONNECTIONS:
            for number in range(arguments.rounds):
                for way, server in proxies.items():
                    print(f"{way}, {connections} connections, round {number + 1}", file=sys.stderr)
                    rounds = samples.setdefault((way, connections), [])
                    rounds.append(sample(server, LETTERS, connections, arguments.seconds))
    show(COLUMNS, list(rows(samples)))


def rows(samples: Samples) -> Iterator[tuple[str, ...]]:
    """Medians over the rounds; the hop's share is taken round by round."""
    for (way, connections), rounds in samples.items():
        hops = [one.cpu - none.cpu for one, none in zip(rounds, samples["none", connections], strict=True)]
        yield (
            way,
            str(connections),
            f"{median(one.rate for one in rounds):,.0f}",
            f"{median(one.load.p50_ms for one in rounds):.2f}",
            f"{median(one.load.p99_ms for one in rounds):.2f}",
            f"{median(one.cpu for one in rounds) * 1e6:.0f}",
            f"{median(hops) * 1e6:.0f}",
        )


if __name__ == "__main__":
    main()
