"""Who takes part: an application, and how it is asked."""

from dataclasses import dataclass

from benchmarks.support.load.questions import PREDICT, V2_BINARY, V2_GRPC, V2_JSON, Question

OURS_APP = "web_single.predictor:create_app"


@dataclass(frozen=True, slots=True)
class Contestant:
    """A name, the factory of an app, and the question that it answers."""

    name: str
    app: str
    question: Question = PREDICT


CONSTANT = Contestant("constant", "benchmarks.apps.constant:create_app")
MINIMAL = Contestant("minimal", "benchmarks.apps.minimal:create_app")
MINIMAL_THREADS = Contestant("minimal-threads", "benchmarks.apps.minimal:create_app_with_threads")
OURS = (
    Contestant("ours", OURS_APP),
    Contestant("ours /v2 JSON", OURS_APP, V2_JSON),
    Contestant("ours /v2 binary", OURS_APP, V2_BINARY),
    Contestant("ours gRPC", OURS_APP, V2_GRPC),
)
"""A process each, so that the CPU time of a process is that of one way to ask."""

CONTESTANTS = {"small": (CONSTANT, MINIMAL, *OURS), "large": (CONSTANT, MINIMAL, MINIMAL_THREADS, *OURS)}
"""By model. Threads are no use to a small model: going to one and back costs more than the model."""
MODELS = list(CONTESTANTS)
NAMES = [contestant.name for contestant in CONTESTANTS["large"]]
