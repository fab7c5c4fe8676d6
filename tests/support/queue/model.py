"""The queue as a model: plain lists, and one thing at a time, which the real queue is compared with."""

from dataclasses import dataclass, field

from asynchronous.jobs import Outcome

NAMES = ("jobs", "open", "finished", "dead-letters", "delayed", "webhooks", "predictors")
FIXED = {f"asynchronous:{name}" for name in NAMES}
"""The keys that are always there, and trimmed; every other one has a time to live."""

FOREVER = """
local found = {}
for _, key in ipairs(redis.call('KEYS', '*')) do
  if redis.call('TTL', key) == -1 and not string.find(key, ':order:') then found[#found + 1] = key end
end
return found
"""
"""The keys that have no time to live; the lines are checked one by one."""


@dataclass(eq=False, slots=True)
class Job:
    """What the model knows of a job."""

    id: str
    ordering_key: str
    payload: bytes
    status: str = "queued"
    attempts: int = 0
    error: str | None = None
    prediction: str | None = None
    is_dead: bool = False

    @property
    def ended(self) -> bool:
        return self.status in ("done", "failed")


@dataclass(slots=True)
class Queue:
    """All of them, and where each stands."""

    jobs: dict[str, Job] = field(default_factory=dict)
    ready: list[Job] = field(default_factory=list)
    held: dict[bytes, tuple[Job, str]] = field(default_factory=dict)
    """By entry, in the order in which the entries came into the stream."""
    lines: dict[str, list[Job]] = field(default_factory=dict)
    delayed: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Between which two times each is due."""
    dead: list[Job] = field(default_factory=list)
    by_idempotency_key: dict[str, tuple[str, str]] = field(default_factory=dict)
    ends: int = 0
    events: list[str] = field(default_factory=list)

    @property
    def open(self) -> int:
        return sum(not job.ended for job in self.jobs.values())

    def joins(self, job: Job) -> None:
        """Into the stream, or to the end of its key's line."""
        if job.ordering_key:
            line = self.lines.setdefault(job.ordering_key, [])
            line.append(job)
            if len(line) > 1:
                return
        self.ready.append(job)

    def becomes(self, job: Job, status: str) -> None:
        job.status = status
        self.events.append(f"{job.id} {status}")
        if job.ended:
            self.ends += 1
            self._leaves_line(job)

    def complete(self, outcome: Outcome, due: tuple[float, float]) -> None:
        """A predictor that holds the job brings its outcome; a retry is due between these times."""
        job, _ = self.held.pop(outcome.job.entry)
        job.attempts = outcome.attempts
        if outcome.kind == "done":
            job.prediction, job.error = str(outcome.content), None
            self.becomes(job, "done")
        elif outcome.kind == "retry":
            job.error = str(outcome.content)
            self.delayed[job.id] = due
            self.becomes(job, "queued")
        else:
            job.error, job.is_dead = str(outcome.content), True
            self.dead.insert(0, job)
            self.becomes(job, "failed")

    def _leaves_line(self, job: Job) -> None:
        if line := self.lines.get(job.ordering_key):
            was_head = line[0] is job
            line.remove(job)
            if was_head and line:
                self.ready.append(line[0])


def ids(jobs: list[Job]) -> list[str]:
    return [job.id for job in jobs]
