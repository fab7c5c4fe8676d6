"""Who takes part in `peer_bench.py`: a command, its environment, and how it is asked."""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.support.contestants import CONSTANT, MINIMAL, OURS_APP
from benchmarks.support.load.questions import PICTURE, PREDICT, V2_JSON, Question
from benchmarks.support.servers.start import ROOT, command, environment
from tests.support.patterns.start import copied, free_ports
from tests.support.processes import free_port

ENVIRONMENTS = ROOT / ".venv-peers"
MODELS = ROOT / "common" / "models"
ROWS = Question("/predict", json.dumps({"pixels": [json.loads(PICTURE)["pixels"]]}).encode())
"""For BentoML, where a request is a batch."""


@dataclass(frozen=True, slots=True)
class Start:
    """How to start a server, and the port on which it will answer."""

    command: tuple[str, ...]
    environment: dict[str, str]
    port: int
    folder: Path = ROOT


@dataclass(frozen=True, slots=True)
class Contestant:
    """A name, the question, and what to start for a model, with a folder for what it writes."""

    name: str
    start: Callable[[Path, Path], Start]
    question: Question = PREDICT
    answers_right: bool = True
    needs: Path = field(default=ROOT)


def ours(app: str) -> Callable[[Path, Path], Start]:
    """An app of this repository, as web_single's Procfile starts ours."""

    def start(model: Path, folder: Path) -> Start:
        port = free_port()
        return Start(("sh", "-c", command(app)), environment(model, port) | {"TMPDIR": str(folder)}, port)

    return start


def pattern(name: str, **settings: str) -> Callable[[Path, Path], Start]:
    """All processes of a pattern, as `make PATTERN` starts them, from a copy, so that its state is its own."""

    def start(model: Path, folder: Path) -> Start:
        ports = free_ports(name)
        variables = environment(model, 0) | {setting: str(port) for setting, port in ports.items()} | settings
        del variables["MODEL_URI"], variables["MODEL_NAME"], variables["GRPC_PORT"]
        (home := folder / name).mkdir()
        line = (sys.executable, "-m", "common.run", f"{name}/Procfile")
        return Start(line, variables | {"TMPDIR": str(folder)}, ports[f"{name.upper()}_PORT"], copied(name, home))

    return start


def peer(name: str, *line: str) -> Callable[[Path, Path], Start]:
    """A command of another library, in its own environment; its files and its home are in the folder."""

    def start(model: Path, folder: Path) -> Start:
        port, grpc_port, metrics_port = (str(free_port()) for _ in range(3))
        variables = {
            "PATH": f"{ENVIRONMENTS / name / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOME": str(folder),
            "TMPDIR": str(folder),
            "PORT": port,
            "MODEL_URI": str(model),
            "ORT_DISABLE_TELEMETRY": "1",
            "BENTOML_HOME": str(folder),
            "BENTOML_DO_NOT_TRACK": "True",
            "MLSERVER_HOST": "127.0.0.1",
            "MLSERVER_HTTP_PORT": port,
            "MLSERVER_GRPC_PORT": grpc_port,
            "MLSERVER_METRICS_PORT": metrics_port,
            "MLSERVER_METRICS_DIR": str(folder),
            "MLSERVER_PARALLEL_WORKERS": "0",  # its worker process does not start with uvloop 0.22 and newer
            "RAY_FOLDER": str(folder),
            "RAY_AUTH_MODE": "disabled",
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        return Start(tuple(word.replace("$PORT", port) for word in line), variables, int(port))

    return start


def bentoml(service: str, question: Question) -> Contestant:
    """BentoML's own command for one of our services."""
    line = ("bentoml", "serve", "--host", "127.0.0.1", "--port", "$PORT", f"benchmarks.peers.{service}")
    return Contestant("BentoML", peer("bentoml", *line), question, needs=ENVIRONMENTS / "bentoml")


def ray(application: str) -> Contestant:
    """Ray Serve, with one of our applications."""
    line = ("python", "-m", "benchmarks.peers.ray_app", application)
    return Contestant("Ray Serve", peer("ray", *line), needs=ENVIRONMENTS / "ray")


LITSERVE = Contestant(
    "LitServe",
    peer("litserve", "python", "-m", "benchmarks.peers.litserve_app"),
    needs=ENVIRONMENTS / "litserve",
)
MLSERVER = Contestant(
    "MLServer",
    peer("mlserver", "mlserver", "start", "benchmarks/peers/mlserver"),
    V2_JSON,
    needs=ENVIRONMENTS / "mlserver",
)
ONLINE = (
    Contestant("constant", ours(CONSTANT.app), answers_right=False),
    Contestant("minimal", ours(MINIMAL.app)),
    Contestant("ours", ours(OURS_APP)),
    Contestant("ours /v2 JSON", ours(OURS_APP), V2_JSON),
    LITSERVE,
    MLSERVER,
    bentoml("bentoml_app:Reader", ROWS),
    ray("Reader"),
)
MEMBERS = (
    Contestant("ours", pattern("microservice_horizontal", AGGREGATION="mean")),
    bentoml("bentoml_composition:Vote", PREDICT),
    ray("Vote"),
)
STAGES = (
    Contestant("ours", pattern("microservice_vertical", ESCALATE_BELOW="0")),
    bentoml("bentoml_composition:Stages", PREDICT),
    ray("Stages"),
)
TASKS = {"small": ONLINE, "large": ONLINE, "three members": MEMBERS, "two stages": STAGES}
"""What is measured, and who does it."""
