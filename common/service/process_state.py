"""What the process is doing now, for whoever has to know: probes, limits, answers."""

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class State:
    """Whether it is about to end, and how many requests it works on (probes do not count)."""

    draining: bool = False
    requests_in_flight: int = 0
    on_drain: list[Callable[[], object]] = field(default_factory=list)

    def drain(self) -> None:
        """Be ready no more, and tell those who need to know."""
        self.draining = True
        for tell in self.on_drain:
            tell()
