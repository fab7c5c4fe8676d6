"""Rounds of measurements: all servers of a model run at once, and are measured in turn, A B C A B C …

So a slow minute of the machine falls on all of them, and the ratios of one round hold whatever the machine does.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.support.contestants import CONTESTANTS, Contestant
from benchmarks.support.large_model import write_large_model
from benchmarks.support.load.wrk import load
from benchmarks.support.machine import Cpus
from benchmarks.support.report import Footprint, Measurement, Report
from benchmarks.support.servers.start import Server, running

SMALL_MODEL = Path(__file__).parents[2] / "common" / "models" / "mlp.onnx"
WARM_UP_SECONDS = 1
START_SECONDS = 2
"""What a start takes, roughly: for the estimate of the whole."""

Step = Callable[[str, float], None]
"""Called with what begins now, and how many seconds it takes."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure, and for how long."""

    seconds: int
    rounds: int
    connections: Sequence[int]
    models: Sequence[str]
    contestants: Sequence[str]

    def taking_part(self, model: str) -> list[Contestant]:
        """Those of a model's contestants that are wanted."""
        return [contestant for contestant in CONTESTANTS[model] if contestant.name in self.contestants]

    @property
    def total_seconds(self) -> int:
        """How long it takes, about."""
        servers = sum(len(self.taking_part(model)) for model in self.models)
        return servers * (START_SECONDS + WARM_UP_SECONDS + len(self.connections) * self.rounds * self.seconds)


def measure_model(plan: Plan, model: str, cpus: Cpus, folder: Path, report: Report, step: Step) -> None:
    """Add to the report what the servers of one model do; `folder` is for files that can go afterwards."""
    file = SMALL_MODEL
    if model == "large":
        write_large_model(file := folder / "large.onnx")
    with ExitStack() as stack:
        servers = []
        for contestant in plan.taking_part(model):
            step(f"{model}: {contestant.name} starts", START_SECONDS)
            servers.append(stack.enter_context(running(contestant, file, cpus, folder)))
        idle = [server.resident_mb() for server in servers]
        for server in servers:
            step(f"{model}: {server.name} warms up", WARM_UP_SECONDS)
            load(server.url, max(plan.connections), WARM_UP_SECONDS, server.contestant.question)
        for connections in plan.connections:
            for number in range(1, plan.rounds + 1):
                for server in servers:
                    step(f"{model}: {server.name}, {connections} connections, round {number}", plan.seconds)
                    report.measurements.append(measure(server, model, connections, number, plan.seconds))
        report.footprints += [
            Footprint(
                model=model,
                contestant=server.name,
                ready_seconds=server.ready_seconds,
                idle_mb=idle_mb,
                loaded_mb=server.resident_mb(),
            )
            for server, idle_mb in zip(servers, idle, strict=True)
        ]


def measure(server: Server, model: str, connections: int, number: int, seconds: int) -> Measurement:
    """One server under one load; its CPU time is counted from without, so that noise from elsewhere is not in it."""
    server.forget_log()
    cpu_before = server.cpu_seconds()
    done = load(server.url, connections, seconds, server.contestant.question)
    cpu_seconds = server.cpu_seconds() - cpu_before
    return Measurement(
        model=model,
        connections=connections,
        round=number,
        contestant=server.name,
        requests_per_second=done.requests / done.seconds,
        p50_ms=done.p50_ms,
        p99_ms=done.p99_ms,
        max_ms=done.max_ms,
        cpu_us=cpu_seconds / done.requests * 1e6,
        cpu_percent=cpu_seconds / done.seconds * 100,
    )
