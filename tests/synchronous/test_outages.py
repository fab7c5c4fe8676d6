"""A predictor that hangs, dies, restarts, is replaced or has a wrong model: every letter is answered in time (S3)."""

from functools import partial
from pathlib import Path
from time import sleep

import numpy as np
import pytest
from onnx import helper

from tests.support.http import fault_proxy as faults
from tests.support.http.fault_proxy import PASS, Link
from tests.support.load.grpc_and_rest import load
from tests.support.models.onnx_models import save, tensor
from tests.support.processes import free_port, wait_until
from tests.support.service_process import Server
from tests.support.stack import predictor_url, stack_of
from tests.support.synchronous_letters import Flow, falls_back, flows, hung, is_back, names_the_predictor, sort_seven

pytestmark = pytest.mark.full


def test_every_letter_is_answered_while_the_predictor_hangs(flow: Flow) -> None:
    with hung(flow.predictor):
        names_the_predictor(sort_seven(flow.hard), 504)
        for _ in range(8):
            falls_back(sort_seven(flow.soft))
    is_back(flow, "SIGSTOP")


def test_every_letter_is_answered_when_the_predictor_is_killed(flow: Flow) -> None:
    flow.predictor.process.kill()
    flow.predictor.process.wait(10)
    names_the_predictor(sort_seven(flow.hard), 503 if flow.is_grpc else 502)
    falls_back(sort_seven(flow.soft))
    flow.stack.start("predictor")
    is_back(flow, "SIGKILL")


def bin_of(proxy: Server) -> str:
    """Where a seven goes."""
    answer = sort_seven(proxy)
    assert answer.status_code == 200
    return str(answer.json()["bin"])


def test_every_letter_is_answered_while_the_predictor_restarts(flow: Flow) -> None:
    with load(partial(bin_of, flow.soft), at_once=2) as letters:
        flow.stack.stop("predictor")
        wait_until(lambda: letters.answers["manual"] > 20)
        flow.stack.start("predictor")
        is_back(flow, "a restart")
        letters.answers.clear()
        letters.goes_on(100)
        assert letters.answers.keys() == {"7"}
    letters.no_failure()


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_every_letter_is_read_while_the_predictor_is_replaced(scheme: str) -> None:
    """An update: another is started, new connections lead to it, and the old one gets SIGTERM."""
    with flows(scheme, drain_seconds=1) as flow, load(partial(bin_of, flow.soft)) as letters:
        old, port, grpc_port = flow.predictor, free_port(), free_port()
        flow.stack.start("predictor", synchronous_predictor_port=port, grpc_port=grpc_port)
        flow.link.to = grpc_port if flow.is_grpc else port
        old.process.terminate()
        old.process.wait(30)
        letters.goes_on(200)
        assert letters.answers.keys() == {"7"}
    letters.no_failure()


def test_the_user_of_a_grpc_address_is_neither_resolved_nor_logged() -> None:
    with stack_of("synchronous") as stack:
        stack.start("predictor")
        url = predictor_url(stack, "grpc").replace("://", "://me:sesame@")
        proxy = stack.start("synchronous", predictor_url=url, fallback="false")
        assert bin_of(proxy) == "7"
        stack.stop("predictor")
        names_the_predictor(sort_seven(proxy), 503)
        assert "sesame" not in proxy.log.read_text()


@pytest.mark.parametrize("flow", ["grpc"], indirect=True)
def test_idle_connection_is_kept(flow: Flow) -> None:
    """However often the proxy asks whether the other side is alive, that is no offence."""
    before = flow.link.connections
    sleep(12)
    assert flow.link.connections == before


@pytest.mark.parametrize(("classes", "value"), [(10, float("nan")), (9, 1 / 9), (10, 0.2)])
def test_answer_of_a_wrong_model_is_no_reading(flow: Flow, tmp_path: Path, classes: int, value: float) -> None:
    """A predictor whose model has other classes, or is broken, takes the place of the right one.

    It is web_single's, which serves any model under /v2; the pattern's own ends at start if its model does not fit.
    """
    right, port, grpc_port = flow.link.to, free_port(), free_port()
    model = constant_model(tmp_path / "mlp.onnx", classes, value)
    with stack_of("synchronous") as others:
        ports = {"synchronous_predictor_port": port, "grpc_port": grpc_port}
        others.start("predictor", app="web_single.predictor:create_app", model_uri=model, **ports)
        connections = flow.link.connections
        try:
            goes_to(flow.link, grpc_port if flow.is_grpc else port)
            wait_until(lambda: not flow.is_grpc or flow.link.connections >= connections + 2)  # it connects by itself
            names_the_predictor(sort_seven(flow.hard), 502)
            falls_back(sort_seven(flow.soft))
        finally:
            goes_to(flow.link, right)
        is_back(flow, "a wrong model")


def constant_model(path: Path, classes: int, value: float) -> str:
    """A model that answers `value` for each class, whatever it is asked."""
    nodes = [
        helper.make_node("MatMul", ["features", "nothing"], ["zeros"]),
        helper.make_node("Add", ["zeros", "value"], ["probabilities"]),
    ]
    constants = {"nothing": np.zeros((64, classes), np.float32), "value": np.full(classes, value, np.float32)}
    outputs = [tensor("probabilities", [None, classes])]
    return save(path, nodes, [tensor("features", [None, 64])], outputs, **constants)


def goes_to(link: Link, port: int) -> None:
    """Every connection ends, and new ones lead there."""
    link.set(faults.REFUSE)
    link.to = port
    link.set(PASS)


def test_every_log_line_of_this_module_is_json(flow: Flow) -> None:
    """Those of the libraries too; the last test, so that there is something to read."""
    assert any("predictor" in line for line in flow.soft.log_lines())
    assert any(line.get("status", 0) > 500 for line in flow.hard.log_lines())
