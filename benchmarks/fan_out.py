"""What asking several models at once costs: `python -m benchmarks.fan_out`

At one connection: the horizontal pattern's proxy, which asks three models in parallel, beside the slowest of them asked
directly, and beside a client that asks all three one after another. Then the proxy's CPU when it is busy, with one, two
and three members.
"""

import json
import sys
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import NamedTuple

from benchmarks.support.load.questions import PREDICT, Question, v2_binary
from benchmarks.support.servers.proxies import QUIET, Sample, prepare, proxy, sample, show
from tests.support.models.onnx_models import slow_pixels, slow_reader
from tests.support.processes import free_port
from tests.support.service_process import Server
from tests.support.stack import MEMBERS, member_urls, stack_of

CONNECTIONS = 16
LATENCY_COLUMNS = ("asked", "p50 ms", "p99 ms", "fan-out's p50 as a multiple (min, median, max)")
CPU_COLUMNS = ("members", "connections", "requests/s", "p50 ms", "p99 ms", "proxy CPU µs/request")


SLOW_SECONDS = 0.02
SLOW = Question("/predict", json.dumps(slow_pixels(SLOW_SECONDS)).encode())
"""A picture that takes a slow svm this long, and no other member."""


class Round(NamedTuple):
    """One connection: through the proxy, and each member directly."""

    fan_out: Sample
    alone: dict[str, Sample]

    @property
    def slowest(self) -> str:
        """The member with the highest p50."""
        return max(self.alone, key=lambda name: self.alone[name].load.p50_ms)

    @property
    def one_after_another(self) -> float:
        """The sum of the members' p50."""
        return sum(one.load.p50_ms for one in self.alone.values())


def main() -> None:
    """Both tables."""
    arguments = prepare("benchmarks.fan_out", __doc__)
    with ExitStack() as stack:
        these = stack.enter_context(stack_of("microservice_horizontal"))
        these.start("redis")
        members = {name: these.start(name, **QUIET, model_threads=1) for name in MEMBERS}
        model = slow_reader(Path(stack.enter_context(TemporaryDirectory())) / "svm.onnx")
        port = {"microservice_horizontal_svm_port": free_port()}
        slow = members | {
            "svm": these.start("svm", **QUIET, **port, model_threads=1, svm_model_uri=model, batching="on")
        }
        redis_url = f"redis://127.0.0.1:{these.port('redis')}/0"
        proxies = [
            stack.enter_context(proxy("microservice_horizontal", **settings(some, redis_url)))
            for some in (slow, *[dict(list(members.items())[-count:]) for count in (1, 2, 3)])
        ]
        for server in proxies:
            sample(server, PREDICT, CONNECTIONS, 1)
        slow_proxy, *_, fan_out = proxies
        seconds, count = arguments.seconds, arguments.rounds
        asked = {"": (fan_out, members, PREDICT), "slow svm: ": (slow_proxy, slow, SLOW)}
        rows = [
            (f"{kind}{name}", *cells)
            for kind, (server, parts, question) in asked.items()
            for name, *cells in latency_rows(rounds_of(server, parts, question, seconds, count))
        ]
        show(LATENCY_COLUMNS, rows)
        show(CPU_COLUMNS, cpu_rows(dict(enumerate(proxies[1:], 1)), seconds, count))


def settings(members: dict[str, Server], redis_url: str) -> dict[str, object]:
    """With which a proxy that runs apart asks these members."""
    urls = member_urls({name: server.port for name, server in members.items()})
    return {"members": urls, "quorum": 1, "redis_url": redis_url}


def rounds_of(fan_out: Server, members: dict[str, Server], question: Question, seconds: int, count: int) -> list[Round]:
    """Whole and parts in turn, at one connection."""
    rounds = []
    for number in range(count):
        print(f"one connection, round {number + 1}", file=sys.stderr)
        together = sample(fan_out, question, 1, seconds)
        alone = {name: sample(server, asked_alone(name, question), 1, seconds) for name, server in members.items()}
        rounds.append(Round(together, alone))
    return rounds


def asked_alone(name: str, question: Question) -> Question:
    """As the proxy asks a member; the slow one has to see the picture that slows it."""
    return v2_binary(name) if question is PREDICT else question


def latency_rows(rounds: list[Round]) -> list[tuple[str, ...]]:
    """Medians over the rounds; multiples are taken round by round."""
    whole = [one.fan_out for one in rounds]
    rows: list[tuple[str, ...]] = [("all three through the proxy", *latencies(whole), "1")]
    rows += [
        (f"{name} alone", *latencies([one.alone[name] for one in rounds]), multiples(rounds, name)) for name in MEMBERS
    ]
    slowest = [one.alone[one.slowest] for one in rounds]
    ratios = [one.fan_out.load.p50_ms / one.alone[one.slowest].load.p50_ms for one in rounds]
    rows.append(("the slowest of them alone", *latencies(slowest), format_ratios(ratios)))
    sums = [one.one_after_another for one in rounds]
    ratios = [one.fan_out.load.p50_ms / one.one_after_another for one in rounds]
    rows.append(("three, one after another (the sum)", f"{median(sums):.2f}", "-", format_ratios(ratios)))
    return rows


def latencies(samples: list[Sample]) -> tuple[str, str]:
    """Medians of p50 and p99."""
    return tuple(f"{median(getattr(one.load, p) for one in samples):.2f}" for p in ("p50_ms", "p99_ms"))  # type: ignore[return-value]


def multiples(rounds: list[Round], name: str) -> str:
    """The fan-out beside one member."""
    return format_ratios([one.fan_out.load.p50_ms / one.alone[name].load.p50_ms for one in rounds])


def format_ratios(ratios: list[float]) -> str:
    """Least, median, most."""
    return ", ".join(f"{ratio:.2f}" for ratio in (min(ratios), median(ratios), max(ratios)))


def cpu_rows(proxies: dict[int, Server], seconds: int, rounds: int) -> list[tuple[str, ...]]:
    """What a proxy spends on a request, by how many members it asks."""
    samples: dict[tuple[int, int], list[Sample]] = {}
    for connections in (1, CONNECTIONS):
        for number in range(rounds):
            for count, server in proxies.items():
                print(f"{count} members, {connections} connections, round {number + 1}", file=sys.stderr)
                samples.setdefault((count, connections), []).append(sample(server, PREDICT, connections, seconds))
    return [
        (
            str(count),
            str(connections),
            f"{median(one.rate for one in some):,.0f}",
            *latencies(some),
            f"{median(one.cpu for one in some) * 1e6:.0f}",
        )
        for (count, connections), some in samples.items()
    ]


if __name__ == "__main__":
    main()
