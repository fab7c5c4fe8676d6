"""A member fails over a job, or has no time for it: that stays with the member, and with that job (H8).

svm and mlp take as long as a picture says, svm reads one at a time.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.support.horizontal.deployment import (
    Answer,
    LinkedDeployment,
    no_error_is_logged,
    svm_with,
)
from tests.support.horizontal.jobs import all_answered, has_answers, look, rows, submit
from tests.support.models.onnx_models import slow_pixels
from tests.support.processes import free_port, wait_until
from tests.support.samples import MLP, SEVEN_JSON, SEVEN_PIXELS
from tests.support.service_process import is_ready

pytestmark = pytest.mark.full
LONG = {"X-Request-Timeout-Ms": "20000"}


@pytest.fixture(scope="module")
def deployment(with_slow_members: LinkedDeployment) -> LinkedDeployment:
    return with_slow_members


def test_failure_over_a_picture_is_an_error_of_that_member_and_that_job(
    deployment: LinkedDeployment, tmp_path: Path
) -> None:
    """H8: though others share its batch."""
    system = deployment.stack
    system.stop("mlp")
    jobs = [submit(deployment.front) for _ in range(12)]
    poisoned = submit(deployment.front, failing())
    system.start("mlp", mlp_model_uri=fails_on_ink_in_the_corner(tmp_path / "mlp.onnx"))
    assert all(all_answered(deployment.front, job)["predictions"]["mlp"]["digit"] == 7 for job in jobs)
    said = wait_until(lambda: stored_answer(deployment, poisoned, "mlp"), 4)  # by the first process that tries it
    system.stop("mlp")
    deployment.start("mlp")
    assert said.startswith(b'{"error":'), said
    has_answers(deployment.front, poisoned, 2)
    job = look(deployment.front, poisoned, wait=10)
    assert (job["status"], job["prediction"]["digit"], job["predictions"].keys()) == ("done", 7, {"linear", "svm"})
    wait_until(lambda: is_ready(system.servers["mlp"]))


@pytest.mark.parametrize("factor", [float("nan"), 2.0], ids=["NaN", "a sum of two"])
def test_invalid_probabilities_are_an_error_of_that_member_and_others_read_the_job(
    deployment: LinkedDeployment, tmp_path: Path, factor: float
) -> None:
    """H8."""
    system = deployment.stack
    system.stop("mlp")
    system.start("mlp", mlp_model_uri=gives_no_probabilities(tmp_path / "mlp.onnx", factor))
    job = submit(deployment.front, slow_pixels(0.1))
    said = wait_until(lambda: stored_answer(deployment, job, "mlp"))
    system.stop("mlp")
    deployment.start("mlp")
    assert said.startswith(b'{"error":'), said
    has_answers(deployment.front, job, 2)
    closed = look(deployment.front, job, wait=10)
    assert (closed["status"], closed["prediction"]["digit"], closed["predictions"].keys()) == (
        "done",
        7,
        {"linear", "svm"},
    )
    wait_until(lambda: is_ready(system.servers["mlp"]))


def test_job_may_take_longer_than_any_caller_may_wait(deployment: LinkedDeployment) -> None:
    with svm_with(deployment, request_timeout_ms=300, max_request_timeout_ms=300):
        job = submit(deployment.front, slow_pixels(0.8))
        said = wait_until(lambda: stored_answer(deployment, job, "svm"))
    assert b'"digit":7' in said, said


def test_job_longer_than_a_lease_is_done_once_although_another_process_is_idle(
    deployment: LinkedDeployment,
) -> None:
    """The process renews its leases while it works."""
    with svm_with(deployment, lease_seconds=0.5) as first:
        settings = deployment.settings["svm"] | {"lease_seconds": 0.5, "microservice_horizontal_svm_port": free_port()}
        second = deployment.stack.start("svm", **settings)
        job = submit(deployment.front, slow_pixels(2.5))
        assert all_answered(deployment.front, job)["predictions"]["svm"]["digit"] == 7
        assert rows(first) + rows(second) == 1
        deployment.stack.stop("svm")
        deployment.stack.servers["svm"] = first


def test_job_for_which_a_process_had_no_time_is_done_by_the_next(deployment: LinkedDeployment) -> None:
    """No error stands for its answer: nothing is wrong with it."""
    with svm_with(deployment, job_ttl_seconds=1, lease_seconds=60) as svm:
        job = submit(deployment.front, slow_pixels(1.5))
        wait_until(lambda: rows(svm) == 1)
        assert stored_answer(deployment, job, "svm") is None
    assert all_answered(deployment.front, job)["predictions"]["svm"]["digit"] == 7


def failing() -> Answer:
    """A picture with ink in the corner."""
    return {"pixels": [2, *SEVEN_PIXELS[1:]]}


def stored_answer(deployment: LinkedDeployment, job: str, name: str) -> Any:
    """What a member has said of a job, as it is kept."""
    with deployment.stack.store() as store:
        return store.hget(f"microservice_horizontal:job:{job.rpartition('/')[2]}", f"answer:{name}")


def gives_no_probabilities(path: Path, factor: float) -> str:
    """The mlp reader, whose probabilities are multiplied by something if the first cell holds ink."""
    model = with_another_end(
        helper.make_node("Slice", ["features", "zero", "one", "one"], ["corner"]),
        helper.make_node("Cast", ["corner"], ["has_ink"], to=TensorProto.BOOL),
        helper.make_node("Where", ["has_ink", "factor", "same"], ["scale"]),
        helper.make_node("Mul", ["fine_probabilities", "scale"], ["probabilities"]),
    )
    scales = {"factor": np.array([factor], np.float32), "same": np.ones(1, np.float32)}
    constants = scales | {"zero": np.array([0]), "one": np.array([1])}
    model.graph.initializer.extend(onnx.numpy_helper.from_array(value, name) for name, value in constants.items())
    onnx.save(model, path)
    return str(path)


def fails_on_ink_in_the_corner(path: Path) -> str:
    """The mlp reader, which looks up what is not there if the first cell holds ink."""
    model = with_another_end(
        helper.make_node("Slice", ["features", "zero", "one", "one"], ["corner"]),
        helper.make_node("ReduceMax", ["corner"], ["ink"], keepdims=0),
        helper.make_node("Cast", ["ink"], ["place"], to=TensorProto.INT64),
        helper.make_node("Gather", ["places", "place"], ["found"]),
        helper.make_node("Add", ["fine_probabilities", "found"], ["probabilities"]),
    )
    constants = {"zero": np.array([0]), "one": np.array([1]), "places": np.zeros(1, np.float32)}
    model.graph.initializer.extend(onnx.numpy_helper.from_array(value, name) for name, value in constants.items())
    onnx.save(model, path)
    return str(path)


def with_another_end(*nodes: onnx.NodeProto) -> onnx.ModelProto:
    """The mlp reader, whose `fine_probabilities` these nodes turn into its `probabilities`."""
    model = onnx.load(MLP)
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = ["fine_probabilities" if name == "probabilities" else name for name in names]
    model.graph.node.extend(nodes)
    return model


def test_jobs_are_answered_while_callers_fill_the_models_queue(deployment: LinkedDeployment) -> None:
    """They fill the queue before the model: that passes, and is no fault of the job."""
    svm = deployment.stack.servers["svm"]
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(svm.read, slow_pixels(0.8), **LONG)
        wait_until(lambda: svm.read(SEVEN_JSON, **{"X-Request-Timeout-Ms": "30"}).status_code == 504)
        second = threads.submit(svm.read, slow_pixels(0.3), **LONG)
        wait_until(lambda: svm.metric("queue_rows") == 1)
        job = submit(deployment.front)
        assert [call.result().status_code for call in (first, second)] == [200, 200]
    said = wait_until(lambda: stored_answer(deployment, job, "svm"), 20)
    assert b'"digit":7' in said, said


def test_no_service_has_logged_an_error_in_this_module(deployment: LinkedDeployment) -> None:
    no_error_is_logged(deployment)
