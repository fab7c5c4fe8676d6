"""Bad input: a clear 4xx each that says what to send instead, and no other client is harmed."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.support.inputs.bad_input import CASES, GOOD, JSON, Case
from tests.support.inputs.pictures import SEVEN_IMAGE, encoded
from tests.support.service_process import Server, serving


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving(request_timeout_ms=10_000) as server:
        yield server


def send(server: Server, case: Case) -> httpx.Response:
    headers = {b"Content-Type": case.content_type.encode("latin-1")} if case.content_type is not None else {}
    return server.client.post("/predict", content=case.body, headers=headers)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_bad_input_is_a_clear_4xx_and_the_next_request_is_read(server: Server, case: Case) -> None:
    response = send(server, case)
    assert response.status_code == case.status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == case.status
    assert case.word in problem["detail"], problem["detail"]
    assert "expected" in problem["detail"] or "send" in problem["detail"], problem["detail"]
    assert len(problem["detail"]) < 400
    server.still_reads_right()


def test_bad_input_harms_no_request_beside_it(server: Server) -> None:
    """Every case, from four connections, while good requests come from four others: all of these are read in time."""
    with ThreadPoolExecutor(4) as some, ThreadPoolExecutor(4) as others:
        bad = [(case, some.submit(send, server, case)) for case in CASES.values()]
        good = []
        while not all(future.done() for _, future in bad):
            good += [others.submit(send, server, Case(GOOD, JSON, 200, "")) for _ in range(4)]
            assert [future.result().json()["digit"] for future in good[-4:]] == [7] * 4
    assert [case for case, future in bad if future.result().status_code != case.status] == []
    assert len(good) >= 8
    assert max(future.result().elapsed.total_seconds() for future in good) < 1


def test_bad_input_costs_no_memory(server: Server) -> None:
    """Bombs and long bodies of all kinds, twice: the most that the process ever held stays small."""
    for case in [*CASES.values(), *CASES.values()]:
        send(server, case)
    assert server.memory_mb("VmHWM") < 250


def test_bad_input_is_no_error_of_the_servers(server: Server) -> None:
    for case in CASES.values():
        send(server, case)
    lines = server.log_lines()
    assert {line["level"] for line in lines} == {"INFO"}
    assert all(line.get("status", 0) < 500 for line in lines)


def test_content_type_is_read_as_the_standard_asks(server: Server) -> None:
    for content_type in ("APPLICATION/JSON", "application/json;charset=utf-8", 'application/json ; x="y"'):
        response = server.client.post("/predict", content=GOOD, headers={"Content-Type": content_type})
        assert response.json()["digit"] == 7


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("content_type", [None, "application/octet-stream", "image/jpg", "image/png"])
def test_a_picture_is_read_whatever_kind_the_client_says_it_is(
    server: Server, kind: str, content_type: str | None
) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    response = server.client.post("/predict", content=encoded(SEVEN_IMAGE, kind), headers=headers)
    assert response.json()["digit"] == 7


def test_a_health_check_stays_quick_beside_long_bad_bodies(server: Server) -> None:
    long = [case for case in CASES.values() if len(case.body) > 1_000_000]
    with ThreadPoolExecutor(2) as threads:
        busy = [threads.submit(send, server, case) for case in long * 3]
        slowest = 0.0
        while not all(future.done() for future in busy):
            slowest = max(slowest, server.get("/health/live").elapsed.total_seconds())
    assert slowest < 0.5


@pytest.mark.parametrize("name", ["15 MB of short pictures", "many pictures, one of them long", "40,000 pictures"])
def test_a_list_that_cannot_be_right_holds_up_no_health_check(server: Server, name: str) -> None:
    """Nor is it parsed to its end, which took most of a second."""

    def slowest() -> float:
        seconds = 0.0
        with ThreadPoolExecutor(1) as threads:
            busy = threads.submit(send, server, CASES[name])
            while not busy.done():
                seconds = max(seconds, server.get("/health/live").elapsed.total_seconds())
        return seconds

    assert min(slowest() for _ in range(3)) < 0.1  # of several, since other processes use the CPUs too


def test_a_long_list_is_read_as_a_short_one(server: Server) -> None:
    padded = b" \n[ " + b" ,\n".join([GOOD + b" " * 300] * 1_024) + b"\n] \n"
    answer = send(server, Case(padded, JSON, 200, ""))
    assert [found["digit"] for found in answer.json()] == [7] * 1_024
