"""The synchronous pattern as its callers see it: the flow waits for the reading, says what it does, can be followed."""

import json
import re
from collections.abc import Iterator
from time import monotonic
from typing import Any, NamedTuple
from uuid import uuid4

import httpx
import pytest

from tests.support.http.sse import events_of
from tests.support.inputs.bad_input import CASES, Case
from tests.support.models.onnx_models import slow_pixels, slow_reader
from tests.support.processes import wait_until
from tests.support.samples import SAMPLES, SEVEN_PIXELS
from tests.support.service_process import Server, is_ready
from tests.support.stack import predictor_url, stack_of
from tests.support.synchronous_letters import post_letter

PICTURES = [(SAMPLES / f"{name}.png").read_bytes() for name in ("zero", "two", "four", "seven")]
SLOW_SECONDS = 0.4
EVENTS = {"Accept": "text/event-stream"}
SHORT = {"X-Request-Timeout-Ms": "150"}
OPEN_METRICS = "application/openmetrics-text; version=1.0.0"


class Services(NamedTuple):
    """A predictor that takes as long as a picture says, proxies that ask it, and one of them without the fallback."""

    predictor: Server
    rest: Server
    grpc: Server
    hard: Server


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    model = slow_reader(tmp_path_factory.mktemp("slow") / "mlp.onnx")
    with stack_of("synchronous") as stack, stack_of("synchronous") as second, stack_of("synchronous") as third:
        servers = Services(
            stack.launch("predictor", model_uri=model, batching="on", model_threads=1),
            stack.launch("synchronous", predictor_url=predictor_url(stack, "http")),
            second.launch("synchronous", predictor_url=predictor_url(stack, "grpc")),
            third.launch("synchronous", predictor_url=predictor_url(stack, "http"), fallback=False),
        )
        wait_until(lambda: all(map(is_ready, servers)))
        yield servers


@pytest.fixture(params=["rest", "grpc"])
def proxy(request: pytest.FixtureRequest, services: Services) -> Server:
    """Each of the two that fall back."""
    server: Server = getattr(services, request.param)
    return server


class Event(NamedTuple):
    """A server-sent event, and how many seconds after the request it came."""

    seconds: float
    name: str
    data: Any


def steps(proxy: Server, body: object, headers: dict[str, str] = EVENTS) -> list[Event]:
    """The same, step by step."""
    began = monotonic()
    with proxy.client.stream("POST", "/letters", json=body, headers=EVENTS | headers) as answer:
        return [Event(monotonic() - began, name, data) for name, data in events_of(answer)]


# S1: the next step depends on the reading


def test_bin_is_the_digit_that_was_read(proxy: Server) -> None:
    letters = [post_letter(proxy, picture).json() for picture in PICTURES]
    assert [letter["bin"] for letter in letters] == ["0", "2", "4", "7"]
    assert [letter["prediction"]["digit"] for letter in letters] == [0, 2, 4, 7]
    assert not any(letter["degraded"] for letter in letters)
    assert len({letter["letter_id"] for letter in letters}) == len(letters)


def test_flow_chooses_the_bin_only_after_the_reading(proxy: Server) -> None:
    registered, read, chosen = steps(proxy, slow_pixels(SLOW_SECONDS))
    assert [registered.name, read.name, chosen.name] == ["registered", "read", "sorted"]
    assert read.seconds > SLOW_SECONDS / 3
    assert registered.seconds < read.seconds / 2
    assert chosen.data["letter_id"] == registered.data["letter_id"]
    assert chosen.data["prediction"] == read.data["prediction"]
    assert chosen.data["bin"] == str(read.data["prediction"]["digit"]) == "7"


# S2: REST or gRPC


def test_the_same_letters_get_the_same_bins_and_readings_over_rest_and_grpc(services: Services) -> None:
    for picture in (*PICTURES, {"pixels": SEVEN_PIXELS}):
        over_rest, over_grpc = post_letter(services.rest, picture).json(), post_letter(services.grpc, picture).json()
        assert over_rest.pop("letter_id") != over_grpc.pop("letter_id")
        assert over_rest == over_grpc
        assert not over_rest["degraded"]


# S4: progress, and a fallback that is marked


def test_letter_without_a_reading_goes_to_the_bin_manual_and_is_degraded(proxy: Server) -> None:
    answer = post_letter(proxy, slow_pixels(SLOW_SECONDS), **SHORT)
    assert answer.status_code == 200
    letter = answer.json()
    assert letter.pop("letter_id")
    assert letter == {"bin": "manual", "degraded": True, "prediction": None}
    assert 'fallback;dur=0.000;desc="timeout"' in answer.headers["server-timing"]
    (line,) = proxy.logged(letter_id=answer.json()["letter_id"])
    assert line["predictor"].startswith("timeout")


def test_events_include_the_fallback(services: Services) -> None:
    registered, read, chosen = steps(services.rest, slow_pixels(SLOW_SECONDS), SHORT)
    assert registered.seconds < read.seconds < 0.15 + 0.3
    assert read == (read.seconds, "read", {"prediction": None})
    assert (chosen.name, chosen.data["bin"], chosen.data["degraded"]) == ("sorted", "manual", True)


def test_letter_without_a_reading_is_a_problem_if_fallback_is_off(services: Services) -> None:
    answer = post_letter(services.hard, slow_pixels(SLOW_SECONDS), **SHORT)
    assert (answer.status_code, answer.headers["content-type"]) == (504, "application/problem+json")
    assert answer.json()["backend"] == "predictor"


def test_problem_is_the_last_event_if_fallback_is_off(services: Services) -> None:
    registered, problem = steps(services.hard, slow_pixels(SLOW_SECONDS), SHORT)
    assert (registered.name, problem.name) == ("registered", "problem")
    assert (problem.data["status"], problem.data["backend"]) == (504, "predictor")


# S6: one letter, followed through logs, traces and metrics


def test_trace_of_a_letter_is_in_logs_metrics_and_answer(services: Services, proxy: Server) -> None:
    """Proxy's log, predictor's log, the answer, and the metric's exemplar."""
    trace = uuid4().hex
    answer = post_letter(proxy, {"pixels": SEVEN_PIXELS}, traceparent=f"00-{trace}-00f067aa0ba902b7-01")
    (line,) = proxy.logged(trace_id=trace)
    assert (line["path"], line["status"], line["bin"]) == ("/letters", 200, "7")
    assert line["letter_id"] == answer.json()["letter_id"]
    assert answer.headers["traceparent"] == f"00-{trace}-{line['span_id']}-01"
    (called,) = services.predictor.logged(trace_id=trace)
    assert called["status"] == 200
    assert "infer" in called["path"].lower()
    metrics = proxy.get("/metrics", accept=OPEN_METRICS).text
    assert re.search(rf'^letters_total{{bin="7"}} \d+\.0 # {{trace_id="{trace}"}}', metrics, re.MULTILINE)


def test_server_timing_shows_the_call_and_the_inference(proxy: Server) -> None:
    """The predictor's own figures stand among the proxy's."""
    timing = post_letter(proxy, slow_pixels(0.1)).headers["server-timing"]
    took = {name: float(ms) for name, ms in re.findall(r"([\w.]+);dur=([\d.]+)", timing)}
    assert took.keys() >= {"decode", "predictor.decode", "predictor.queue"}
    assert 50 < took["predictor.predict"] < took["predictor"] < took["total"]


def test_letters_are_counted_by_bin(proxy: Server) -> None:
    before = proxy.metric("letters_total", bin="4")
    post_letter(proxy, PICTURES[2])
    assert proxy.metric("letters_total", bin="4") == before + 1


# Bad input

ONE_PICTURE: dict[str, Case] = {name: case for name, case in CASES.items() if not case.body.startswith(b"[")} | {
    "an empty list": CASES["[]"]._replace(word="got a list"),
    "a list": CASES["[]"]._replace(body=json.dumps([{"pixels": SEVEN_PIXELS}]).encode(), word="got a list"),
    "a body of 17 MB": CASES["{}"]._replace(body=b" " * 17_000_000, status=413, word="bytes"),
}


def send(proxy: Server, case: Case) -> httpx.Response:
    headers = {b"Content-Type": case.content_type.encode("latin-1")} if case.content_type is not None else {}
    return proxy.client.post("/letters", content=case.body, headers=headers)


@pytest.mark.parametrize("case", ONE_PICTURE.values(), ids=ONE_PICTURE)
def test_invalid_picture_is_rejected_with_what_to_send_instead(services: Services, case: Case) -> None:
    answer = send(services.rest, case)
    assert (answer.status_code, answer.headers["content-type"]) == (case.status, "application/problem+json")
    detail = answer.json()["detail"]
    assert case.word in detail
    assert "expected" in detail or "send" in detail


def test_invalid_picture_causes_no_call(services: Services) -> None:
    before = services.rest.metric("backend_calls_total"), services.predictor.metric("batch_rows_sum")
    for case in ONE_PICTURE.values():
        send(services.rest, case)
    assert (services.rest.metric("backend_calls_total"), services.predictor.metric("batch_rows_sum")) == before


@pytest.mark.parametrize("timeout", ["0", "-1", "1.5", "soon", ""])
def test_invalid_deadline_is_rejected(services: Services, timeout: str) -> None:
    answer = post_letter(services.rest, {"pixels": SEVEN_PIXELS}, **{"X-Request-Timeout-Ms": timeout})
    assert answer.status_code == 400
    assert "whole milliseconds" in answer.json()["detail"]
