"""For whom the proxy waits: each policy, with one member slow, hung, dead or wrong (H3, H6, H8).

Every caller is answered by the deadline. A quick test of each policy is in test_predict.py.
"""

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any, get_args
from uuid import uuid4

import httpx
import pytest

from microservice_horizontal.settings import Policy
from tests.support.horizontal.deployment import (
    LinkedDeployment,
    all_vote,
    ask,
    missing,
    spent_ms,
)
from tests.support.http import fault_proxy as faults
from tests.support.http.fault_proxy import REFUSE, SWALLOW, Fault, probabilities
from tests.support.http.raw_http import raw_post
from tests.support.models.onnx_models import slow_pixels
from tests.support.processes import wait_until
from tests.support.samples import SEVEN_JSON
from tests.support.service_process import Server
from tests.support.stack import MEMBERS

pytestmark = pytest.mark.full
DEADLINE_MS = 500
LONG = {"X-Request-Timeout-Ms": "20000"}
POLICIES: tuple[str, ...] = get_args(Policy)
OTHERS = {"linear", "svm"}
NINE = Fault(answer=probabilities(*[0.0] * 9, 1.0))
KINDS = {
    "slow": Fault(delay_seconds=0.3),
    "hung": SWALLOW,
    "dead": REFUSE,
    "wrong": NINE,
    "rubbish": faults.HTML,
}
REASONS = {"hung": "timeout", "dead": "refused", "rubbish": "error"}
STATUS = {"hung": 504, "dead": 503, "rubbish": 502}
"""Of the members that give no answer: why there is none, and what is the end of it where all are waited for."""


@pytest.fixture(scope="module")
def deployment(with_slow_svm: LinkedDeployment) -> LinkedDeployment:
    return with_slow_svm


@pytest.fixture(scope="module")
def proxies(deployment: LinkedDeployment) -> Iterator[dict[str, Server]]:
    """By their POLICY."""
    with ExitStack() as exit_stack:
        yield {
            policy: exit_stack.enter_context(deployment.another_proxy(policy=policy, breaker_open_seconds=0.3))
            for policy in POLICIES
        }


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(("way", "kind"), [*(("query", kind) for kind in KINDS), ("setting", "hung")])
def test_policy_decides_the_answer_when_one_member_fails(
    deployment: LinkedDeployment, proxies: dict[str, Server], policy: str, kind: str, way: str
) -> None:
    proxy, query = (proxies[policy], {}) if way == "setting" else (deployment.front, {"policy": policy})
    with deployment.during(KINDS[kind], "mlp", proxy=proxy):
        answer = ask(proxy, SEVEN_JSON, 5_000 if kind == "slow" else DEADLINE_MS, **query)
    if policy == "wait" and kind in STATUS:
        names_mlp(answer, STATUS[kind], REASONS[kind])
        return
    assert answer.status_code == 200, answer.text
    found, absent = answer.json(), missing(answer.json())
    assert found["predictions"].keys() | absent.keys() == set(MEMBERS)
    if policy in ("wait", "deadline"):
        assert absent == ({"mlp": REASONS[kind]} if kind in REASONS else {})
        assert found["digit"] == 7
        if kind == "wrong":
            assert found["predictions"]["mlp"]["digit"] == 9
    elif policy == "quorum":
        assert found["predictions"].keys() >= OTHERS
        assert found["digit"] == 7
        assert absent.get("mlp", "") in (("",) if kind == "wrong" else ("not awaited", REASONS.get(kind)))
    else:
        assert found["predictions"]
        assert kind == "wrong" or "mlp" not in found["predictions"]
        assert {absent[name] for name in OTHERS & absent.keys()} <= {"not awaited"}


def names_mlp(answer: httpx.Response, status: int, reason: str) -> None:
    """A problem of this status, which says who failed, and why."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.json()["backend"], answer.json()["reason"]) == ("mlp", reason)
    assert answer.json()["detail"].startswith(f"mlp: {reason}")
    assert ("retry-after" in answer.headers) == (status == 503)


@pytest.mark.parametrize("kind", ["hung", "dead", "rubbish"])
def test_fewer_votes_than_the_quorum_are_a_503_with_retry_after(deployment: LinkedDeployment, kind: str) -> None:
    with deployment.during(KINDS[kind], "mlp"):
        answer = ask(deployment.front, SEVEN_JSON, DEADLINE_MS, quorum=3)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert f"2 of 3 models answered, expected at least 3: mlp: {REASONS[kind]}" in answer.json()["detail"]


def test_quorum_is_a_setting(deployment: LinkedDeployment) -> None:
    with deployment.another_proxy(quorum=3) as proxy, deployment.during(REFUSE, "mlp", proxy=proxy):
        assert ask(proxy).status_code == 503
        assert missing(ask(proxy, quorum=2).json()) == {"mlp": "refused"}


@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_ends_by_the_deadline_when_all_members_hang(deployment: LinkedDeployment, policy: str) -> None:
    with deployment.during(SWALLOW, *MEMBERS):
        answer = ask(deployment.front, SEVEN_JSON, 300, policy=policy)
        assert answer.status_code == (504 if policy == "wait" else 503)
        if policy != "wait":
            assert all(f"{name}: timeout" in answer.json()["detail"] for name in MEMBERS)


def test_member_that_failed_repeatedly_is_missing_with_breaker_open(
    deployment: LinkedDeployment,
) -> None:
    with deployment.another_proxy(breaker_failures=3, breaker_open_seconds=0.5) as proxy:
        with deployment.during(SWALLOW, "mlp", proxy=proxy):
            reasons = [missing(ask(proxy, SEVEN_JSON, 400).json())["mlp"] for _ in range(4)]
            assert reasons == ["timeout"] * 3 + ["breaker open"]
            answer = ask(proxy, SEVEN_JSON, 400, policy="wait")
            names_mlp(answer, 503, "breaker open")
        assert ask(proxy).json()["missing"] == []


def test_call_of_one_model_fails_alone(deployment: LinkedDeployment) -> None:
    """H8."""
    with deployment.during(SWALLOW, "mlp"):
        names_mlp(ask(deployment.front, SEVEN_JSON, 300, path="/predict/mlp"), 504, "timeout")
        for name in sorted(OTHERS):
            assert ask(deployment.front, SEVEN_JSON, 300, path=f"/predict/{name}").json()["digit"] == 7


def test_quorum_counts_members_that_agree(deployment: LinkedDeployment) -> None:
    """One says another digit, and at once: the two who agree are awaited."""
    with deployment.during(NINE, "mlp"):
        deployment.links["linear"].set(Fault(delay_seconds=0.1))
        deployment.links["svm"].set(Fault(delay_seconds=0.1))
        try:
            answer = ask(deployment.front, policy="quorum").json()
            majority = ask(deployment.front, policy="quorum", aggregation="majority").json()
        finally:
            deployment.links["linear"].set(faults.PASS)
            deployment.links["svm"].set(faults.PASS)
    assert {name: digit["digit"] for name, digit in answer["predictions"].items()} == {"linear": 7, "svm": 7, "mlp": 9}
    assert majority["digit"] == 7
    assert (majority["probabilities"][7], majority["probabilities"][9]) == pytest.approx((2 / 3, 1 / 3), abs=1e-5)


def test_quorum_policy_waits_for_all_if_too_few_agree(deployment: LinkedDeployment) -> None:
    with deployment.during(NINE, "mlp"):
        answer = ask(deployment.front, policy="quorum", quorum=3)
    assert (answer.status_code, answer.json()["missing"]) == (200, [])


def test_slow_member_is_waited_for_until_the_deadline(deployment: LinkedDeployment) -> None:
    """H3: however long that is; each caller says."""
    for deadline_ms, absent in ((300, {"svm": "timeout"}), (5_000, {})):
        assert missing(ask(deployment.front, slow_pixels(0.5), deadline_ms).json()) == absent
        wait_until(lambda: ask(deployment.front, policy="wait").status_code == 200)


@pytest.mark.parametrize("hung", [("mlp",), ("svm", "mlp")], ids=["one", "two"])
def test_full_proxy_answers_with_the_other_votes_while_members_hang(
    deployment: LinkedDeployment, hung: tuple[str, ...]
) -> None:
    """The calls that hang take nothing from the others: no connection is waited for."""
    at_once = 24
    with (
        deployment.another_proxy(max_concurrent_requests=at_once, breaker_failures=10_000, quorum=1) as proxy,
        httpx.Client(base_url=proxy.url, timeout=10, limits=httpx.Limits(max_connections=at_once)) as client,
        ThreadPoolExecutor(at_once) as threads,
    ):

        def call(_: int) -> Any:
            return client.post("/predict", json=SEVEN_JSON, headers={"X-Request-Timeout-Ms": "2000"})

        with deployment.during(SWALLOW, *hung, proxy=proxy):
            answers = list(threads.map(call, range(at_once)))
    assert [answer.status_code for answer in answers] == [200] * at_once, {answer.text for answer in answers}
    assert all(missing(answer.json()) == dict.fromkeys(hung, "timeout") for answer in answers)
    assert max(spent_ms(answer)["linear"] for answer in answers) < 1_000


# Who leaves, and who is not awaited


@contextmanager
def svm_busy(deployment: LinkedDeployment) -> Iterator[None]:
    """svm reads a picture as long as the block (and a second), so that others wait in its queue."""
    svm = deployment.stack.servers["svm"]
    with ThreadPoolExecutor(1) as thread:
        seconds = 1.2
        busy = thread.submit(svm.read, slow_pixels(seconds), **LONG)
        wait_until(lambda: svm.read(SEVEN_JSON, **{"X-Request-Timeout-Ms": "30"}).status_code == 504)
        yield
        assert busy.result().json()["digit"] == 7


def test_client_disconnect_cancels_the_calls_of_all_members(deployment: LinkedDeployment) -> None:
    svm, trace = deployment.stack.servers["svm"], uuid4().hex
    left = deployment.front.metric("backend_calls_total", backend="svm", outcome="cancelled")
    with svm_busy(deployment):
        question = raw_post("/predict", SEVEN_JSON, **LONG, traceparent=f"00-{trace}-00f067aa0ba902b7-01")
        question = question.replace(b"/predict", b"/predict")
        with socket.create_connection(("127.0.0.1", deployment.front.port)) as connection:
            connection.sendall(question)
            wait_until(lambda: svm.metric("queue_rows") >= 1)
        (line,) = deployment.front.logged(trace_id=trace)
        assert line["status"] == 499
        (line,) = svm.logged(trace_id=trace)
        assert line["status"] == 499
    all_vote(deployment.front)
    assert deployment.front.metric("backend_calls_total", backend="svm", outcome="cancelled") == left + 1


@pytest.mark.parametrize("policy", ["quorum", "first"])
def test_call_that_is_not_awaited_is_cancelled(deployment: LinkedDeployment, policy: str) -> None:
    svm, trace = deployment.stack.servers["svm"], uuid4().hex
    with svm_busy(deployment):
        answer = deployment.front.client.post(
            "/predict",
            params={"policy": policy},
            json=SEVEN_JSON,
            headers=LONG | {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"},
        )
        assert missing(answer.json())["svm"] == "not awaited"
        (line,) = svm.logged(trace_id=trace)
        assert line["status"] == 499
    all_vote(deployment.front)


def test_no_service_has_logged_an_error_in_this_module(
    deployment: LinkedDeployment, proxies: dict[str, Server]
) -> None:
    for server in (deployment.front, *proxies.values(), *[deployment.stack.servers[name] for name in MEMBERS]):
        assert [line for line in server.log_lines() if line["level"] == "ERROR" or line.get("status") == 500] == []
