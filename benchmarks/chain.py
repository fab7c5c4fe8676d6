"""How latency adds up over stages: `python -m benchmarks.chain`

The vertical pattern at one connection, beside the sum of what its stages take when each is asked by itself; then the
same proxy when requests arrive at a steady rate whatever the answers do, so that waiting counts.
"""

import sys
from contextlib import ExitStack
from statistics import median

import uvloop

from benchmarks.support.load.open_loop import open_loop
from benchmarks.support.load.questions import PICTURE, PREDICT, v2_binary
from benchmarks.support.servers.proxies import QUIET, prepare, proxy, sample, show
from tests.support.service_process import Server
from tests.support.stack import Stack, stack_of

MODELS = {"quality": "quality", "reader": "mlp", "specialist": "specialist"}
ROUTES = {"quality, reader": 0.0, "quality, reader, specialist": 1.0}
"""Who is asked, by ESCALATE_BELOW."""
CONNECTIONS = 16
SHARES = (0.25, 0.5, 0.75)
CHAIN_COLUMNS = ("stages", "p50 ms", "sum of the stages' p50 ms", "ratio (min, median, max)", "p99 ms", "proxy CPU µs")
RATE_COLUMNS = ("stages", "requests/s", "of what it can do", "p50 ms", "p90 ms", "p99 ms", "failed")


def main() -> None:
    """Both tables."""
    arguments = prepare("benchmarks.chain", __doc__)
    seconds, rounds = arguments.seconds, arguments.rounds
    with ExitStack() as stack:
        these = stack.enter_context(stack_of("microservice_vertical"))
        for name in ("redis", *MODELS):
            these.start(name, **({} if name == "redis" else QUIET | {"model_threads": 1}))
        proxies = {
            route: stack.enter_context(proxy("microservice_vertical", escalate_below=threshold, **urls(these)))
            for route, threshold in ROUTES.items()
        }
        for server in proxies.values():
            sample(server, PREDICT, CONNECTIONS, 1)
        show(CHAIN_COLUMNS, [chain_row(route, server, these, seconds, rounds) for route, server in proxies.items()])
        show(RATE_COLUMNS, [row for route, server in proxies.items() for row in rate_rows(route, server, seconds)])


def urls(these: Stack) -> dict[str, str]:
    """Where a proxy that runs apart finds the stages."""
    found = {f"{name}_url": f"{these.servers[name].url}/v2/models/{model}" for name, model in MODELS.items()}
    return found | {"redis_url": f"redis://127.0.0.1:{these.port('redis')}/0"}


def chain_row(route: str, server: Server, these: Stack, seconds: int, rounds: int) -> tuple[str, ...]:
    """Whole and parts in turn, round by round, at one connection."""
    wholes, sums = [], []
    for number in range(rounds):
        print(f"{route}, one connection, round {number + 1}", file=sys.stderr)
        wholes.append(sample(server, PREDICT, 1, seconds))
        stages = [sample(these.servers[name], v2_binary(MODELS[name]), 1, seconds) for name in route.split(", ")]
        sums.append(sum(stage.load.p50_ms for stage in stages))
    ratios = [whole.load.p50_ms / parts for whole, parts in zip(wholes, sums, strict=True)]
    return (
        route,
        f"{median(whole.load.p50_ms for whole in wholes):.2f}",
        f"{median(sums):.2f}",
        ", ".join(f"{ratio:.2f}" for ratio in (min(ratios), median(ratios), max(ratios))),
        f"{median(whole.load.p99_ms for whole in wholes):.2f}",
        f"{median(whole.cpu for whole in wholes) * 1e6:.0f}",
    )


def rate_rows(route: str, server: Server, seconds: int) -> list[tuple[str, ...]]:
    """The latency at several shares of what the proxy does at most."""
    most = sample(server, PREDICT, CONNECTIONS, seconds).rate
    rows = []
    for share in SHARES:
        print(f"{route}, {share:.0%} of {most:,.0f} requests/s", file=sys.stderr)
        headers = {"Content-Type": "application/json"}
        done = uvloop.run(open_loop(f"{server.url}/predict", PICTURE.encode(), headers, most * share, seconds * 2))
        percentiles = [f"{done.percentile(part):.2f}" for part in (0.5, 0.9, 0.99)]
        rows.append((route, f"{most * share:,.0f}", f"{share:.0%}", *percentiles, str(done.failed)))
    return rows


if __name__ == "__main__":
    main()
