"""The horizontal pattern, whose proxy asks the members over links that can fail; how it is asked, what it answers."""

import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

import httpx
import numpy as np

from common.training.data import Features, Rows, held_out
from common.training.measure import runner
from tests.support.http.fault_proxy import PASS, Fault, Link
from tests.support.models.onnx_models import slow_reader
from tests.support.processes import wait_until
from tests.support.samples import MLP, SEVEN_JSON
from tests.support.service_process import Server, is_ready, serving
from tests.support.stack import MEMBERS, Stack, horizontal_stack, member_urls

RUN = {name: runner(MLP.with_name(f"{name}.onnx").read_bytes()) for name in MEMBERS}
SLACK_SECONDS = 0.3
BACK_SECONDS = 10.0
Answer = dict[str, Any]


class LinkedDeployment(NamedTuple):
    """The pattern, and the links over which its proxy asks the members."""

    stack: Stack
    links: dict[str, Link]
    settings: dict[str, dict[str, object]]
    """With which each process was started, so that it can be again."""

    @property
    def front(self) -> Server:
        return self.stack.front

    def kill(self, *names: str) -> None:
        """SIGKILL."""
        for name in names:
            self.stack.servers[name].process.kill()
            self.stack.servers[name].process.wait(10)

    def start(self, *names: str) -> None:
        """Again, as it was."""
        for name in names:
            self.stack.launch(name, **self.settings.get(name, {}))

    @contextmanager
    def hung(self, *names: str) -> Iterator[None]:
        """These processes stand still as long as the block."""
        for name in names:
            self.stack.servers[name].process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            for name in names:
                self.stack.servers[name].process.send_signal(signal.SIGCONT)

    def another_proxy(self, **settings: object) -> AbstractContextManager[Server]:
        """One more proxy before the same members, asked over the same links, with settings of its own."""
        members = member_urls({name: link.port for name, link in self.links.items()})
        redis_url = f"redis://127.0.0.1:{self.stack.port('redis')}/0"
        return serving(
            "microservice_horizontal.proxy:create_app", **({"members": members, "redis_url": redis_url} | settings)
        )

    @contextmanager
    def during(self, fault: Fault, *names: str, proxy: Server | None = None) -> Iterator[None]:
        """The links to these members have this fault as long as the block; then all vote again by themselves."""
        for name in names:
            self.links[name].set(fault)
        try:
            yield
        finally:
            for name in names:
                self.links[name].set(PASS)
        all_vote(proxy or self.front)


@contextmanager
def linked_deployment(
    services: dict[str, dict[str, object]] | None = None, **proxy: object
) -> Iterator[LinkedDeployment]:
    """The same, ready; settings of each service by its name, and of the proxy."""
    links: dict[str, Link] = {}
    proxy = {"breaker_open_seconds": 0.3} | proxy
    with horizontal_stack(services, links, **proxy) as stack:
        members = member_urls({name: link.port for name, link in links.items()})
        yield LinkedDeployment(stack, links, (services or {}) | {stack.front_name: {"members": members} | proxy})


def slow_svm(folder: Path) -> dict[str, dict[str, object]]:
    """The settings of a member svm that reads a picture as long as it says."""
    return {
        "svm": {
            "svm_model_uri": slow_reader(folder / "svm.onnx"),
            "batching": "on",
            "model_threads": 1,
            "lease_seconds": 1,
        }
    }


def slow_members(folder: Path) -> dict[str, dict[str, object]]:
    """The settings of members svm and mlp that read a picture as long as it says, svm at one at a time."""
    slow = slow_reader(folder / "slow.onnx")
    one_by_one = {"max_batch_rows": 1, "max_queue_rows": 1}
    svm = {"svm_model_uri": slow, "batching": "on", "model_threads": 1, "lease_seconds": 1} | one_by_one
    return {"svm": svm, "mlp": {"mlp_model_uri": slow, "batching": "on", "model_threads": 1}}


@contextmanager
def svm_with(deployment: LinkedDeployment, **settings: object) -> Iterator[Server]:
    """svm is another process, with these settings, as long as the block."""
    deployment.stack.stop("svm")
    yield deployment.stack.start("svm", **deployment.settings["svm"] | settings)
    deployment.stack.stop("svm")
    deployment.start("svm")
    wait_until(lambda: is_ready(deployment.stack.servers["svm"]))


def no_error_is_logged(deployment: LinkedDeployment) -> None:
    """By any service that is meant to be well."""
    for name in (deployment.stack.front_name, "linear", "svm", "postprocessor"):
        lines = deployment.stack.servers[name].log_lines()
        assert [line for line in lines if line["level"] == "ERROR" or line.get("status") == 500] == [], name


# Asking, and what an answer is


def ask(
    proxy: Server, body: object = SEVEN_JSON, deadline_ms: int = 2_000, path: str = "/predict", **query: object
) -> Any:
    """The answer to a picture; it must be there by the deadline."""
    headers, began = {"X-Request-Timeout-Ms": str(deadline_ms)}, monotonic()
    answer = proxy.client.post(path, json=body, headers=headers, params={n: str(v) for n, v in query.items()})
    assert monotonic() - began < deadline_ms / 1e3 + SLACK_SECONDS
    return answer


def missing(answer: Answer) -> dict[str, str]:
    """Who gave no answer, and why."""
    return {one["model"]: one["reason"] for one in answer["missing"]}


def spent_ms(answer: httpx.Response) -> dict[str, float]:
    """What of an answer took how long."""
    entries = [entry.split(";dur=") for entry in answer.headers["server-timing"].split(", ")]
    return {name: float(milliseconds) for name, milliseconds in entries}


def all_vote(proxy: Server) -> None:
    """All three answer again, within seconds."""

    def vote() -> bool:
        answer = ask(proxy, policy="deadline", quorum=1)
        return answer.status_code == 200 and list(answer.json()["predictions"]) == list(MEMBERS)

    wait_until(vote, BACK_SECONDS)


def kept(proxy: Server, body: object) -> dict[str, str]:
    """What `/predict` takes instead of what is now kept."""
    answer = proxy.client.post("/images", json=body)
    assert answer.status_code == 201, answer.text
    image_id: dict[str, str] = answer.json()
    return image_id


def picture(scan: Features) -> dict[str, list[float]]:
    """A scan of shape (64,) as it is sent."""
    return {"pixels": scan.tolist()}


@cache
def unanimous() -> Rows:
    """Held-out scans that all three models read alike."""
    scans = held_out()
    readings = [run(scans.features)[0] for run in RUN.values()]
    chosen = np.all([reading == readings[0] for reading in readings], axis=0)
    return Rows(scans.features[chosen], readings[0][chosen])
