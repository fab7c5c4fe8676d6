"""An update replaces one replica after another, and under load no request fails, over REST or gRPC (W5)."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from tests.support.load.grpc_and_rest import Load, grpc_calls, load, rest_calls
from tests.support.processes import PATTERNS, ROOT, free_port, output_of, wait_until
from tests.support.replicas import NUMBERS, started_replicas
from tests.support.samples import MLP

LINEAR = MLP.with_name("linear.onnx")
NAME = "reader"
"""What clients of gRPC ask for; it stays the same when the file's name does not."""


@pytest.mark.full
@pytest.mark.envoy
def test_new_model_replaces_the_old_one_under_load_without_a_failed_request() -> None:
    with (
        started_replicas(model_uri=MLP, model_name=NAME) as replicas,
        rest_and_grpc_load(replicas.port, replicas.grpc_port) as loads,
    ):
        old, *_ = versions(loads)
        for number in NUMBERS:
            replicas.stop(number)
            replicas.start(number, model_uri=LINEAR, model_name=NAME)
        (new,) = wait_until(lambda: only_new(loads, old))
        assert new != old
        assert replicas.retries() == 0


@contextmanager
def rest_and_grpc_load(port: int, grpc_port: int) -> Iterator[list[Load]]:
    """Both at once; in the end, none has failed."""
    with rest_calls(port) as rest, grpc_calls(f"127.0.0.1:{grpc_port}", NAME) as grpc:
        with load(rest, 4) as requests, load(grpc, 4) as calls:
            yield [requests, calls]
        requests.no_failure()
        calls.no_failure()


def versions(loads: list[Load]) -> set[str]:
    """The versions of the model that have answered so far."""
    return {version for requests in loads for version in requests.answers}


def only_new(loads: list[Load], old: str) -> set[str]:
    """The versions that answer now, unless the old one is among them."""
    for requests in loads:
        requests.answers.clear()
        requests.goes_on(30)
    return set() if old in versions(loads) else versions(loads)


class Composed:
    """`docker compose up web_single-replicas` in a copy of what is needed for it, on ports of its own."""

    def __init__(self, folder: Path) -> None:
        for name in ("Makefile", "docker-compose.yml", "docker-compose.env", "common", *PATTERNS):
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, folder / name)
        self.folder = folder
        self.port, self.grpc_port = free_port(), free_port()
        self.environment = {
            "COMPOSE_PROJECT_NAME": f"test-{uuid4().hex[:8]}",
            "WEB_SINGLE_PORT": str(self.port),
            "WEB_SINGLE_GRPC_PORT": str(self.grpc_port),
            "MODEL_NAME": NAME,
        }

    def compose(self, *arguments: str) -> str:
        return output_of("docker", "compose", *arguments, folder=self.folder, **self.environment)

    def update(self, **settings: str) -> subprocess.CompletedProcess[str]:
        """The command that the README gives."""
        environment = os.environ | self.environment | settings
        command = ("make", "web_single-update")
        return subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True)

    def containers(self) -> list[str]:
        return [self.compose("ps", "--quiet", f"web_single-{number}") for number in NUMBERS]


@pytest.fixture(scope="module")
def composed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composed]:
    replicas = Composed(tmp_path_factory.mktemp("copy"))
    try:
        replicas.compose("up", "--build", "--detach", "--wait", "web_single-replicas")
        yield replicas
        print(replicas.compose("logs", "--no-color", "--tail=20", "web_single-replicas"))
    finally:
        replicas.compose("--profile=replicas", "down", "--volumes", "--timeout=5")


@pytest.mark.docker
@pytest.mark.full
@pytest.mark.timeout(600)
@pytest.mark.parametrize("change", ["model", "code"])
def test_make_update_replaces_every_container_under_load_without_a_failed_request(
    composed: Composed, change: str
) -> None:
    before = composed.containers()
    if change == "model":
        shutil.copy(composed.folder / "common/models/linear.onnx", composed.folder / "common/models/mlp.onnx")
    else:
        code = composed.folder / "web_single/predictor.py"
        code.write_text(code.read_text().replace('Service("web_single"', 'Service("updated"'))
    with rest_and_grpc_load(composed.port, composed.grpc_port) as loads:
        old = versions(loads)
        done = composed.update()
        assert done.returncode == 0, done.stderr
        new = only_new(loads, "")
    assert not set(before) & set(composed.containers())
    assert (new == old) == (change == "code")
    title = httpx.get(f"http://127.0.0.1:{composed.port}/openapi.json").json()["info"]["title"]
    assert title == ("updated" if change == "code" else "web_single")


@pytest.mark.docker
@pytest.mark.full
@pytest.mark.timeout(600)
def test_make_update_stops_at_the_first_replica_that_does_not_become_ready(composed: Composed) -> None:
    """The others go on as they were, and callers do not notice."""
    before = composed.containers()
    with rest_and_grpc_load(composed.port, composed.grpc_port):
        done = composed.update(MODEL_SHA256="0" * 64)
        assert done.returncode != 0
    assert composed.containers()[1:] == before[1:]


@pytest.mark.docker
@pytest.mark.full
@pytest.mark.timeout(600)
def test_killed_container_under_load_causes_no_failed_request(composed: Composed) -> None:
    assert composed.update().returncode == 0
    with rest_and_grpc_load(composed.port, composed.grpc_port) as loads:
        composed.compose("kill", "--signal=KILL", "web_single-2")
        for requests in loads:
            requests.goes_on(300)
        composed.compose("start", "web_single-2")
        for requests in loads:
            requests.goes_on(300)
