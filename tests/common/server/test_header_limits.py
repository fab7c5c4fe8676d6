"""Headers are bounded in size and in time, and so are a connection without a request and a body after its answer."""

import json
import socket
import time
from collections.abc import Iterator

import pytest

from tests.support.http.raw_connection import GET, HEAD, QUICK, SEVEN, connect, is_closed, response
from tests.support.processes import wait_until
from tests.support.service_process import Server, serving

LIMIT = 64 * 1024


@pytest.fixture(scope="module")
def quick() -> Iterator[Server]:
    """With half a second for headers."""
    with serving(options=f"--http {QUICK}", uvicorn_timeout_keep_alive=2) as server:
        yield server


def test_headers_up_to_the_limit_are_read(server: Server) -> None:
    with connect(server) as client:
        start = GET.removesuffix(b"\r\n") + b"X-Long: "
        client.sendall(start + b"a" * (LIMIT - len(start)) + b"\r\n\r\n")
        assert response(client)[0] == 200


LONG = GET.removesuffix(b"\r\n") + b"X-Long: "


@pytest.mark.parametrize(
    ("start", "end"),
    [(b"GET /", b""), (LONG, b""), (GET + LONG, b""), (b"GET /", b"\r\n\r\n"), (LONG, b"\r\n\r\n")],
    ids=["path", "header", "pipelined", "path with an end", "header with an end"],
)
def test_longer_headers_are_a_431_and_the_end_of_the_connection(server: Server, start: bytes, end: bytes) -> None:
    with connect(server) as client:
        client.sendall(start)
        if start.startswith(GET):
            assert response(client)[0] == 200
        client.sendall(b"a" * (LIMIT + 1) + end)
        status, headers, body = response(client)
        assert (status, headers["content-type"]) == (431, "application/problem+json")
        assert json.loads(body)["detail"] == "headers: expected at most 65536 bytes, got more"
        assert is_closed(client)


def fill(client: socket.socket, megabytes: int, part: bytes) -> None:
    """Send so much, or as much as the server lets us."""
    try:
        for _ in range(megabytes * 2**20 // len(part)):
            client.sendall(part)
    except OSError:
        pass


@pytest.mark.full
@pytest.mark.parametrize(
    ("start", "part"),
    [
        (b"GET / HTTP/1.1\r\nX: ", b"a" * 65_536),
        (b"GET / HTTP/1.1\r\n", b"X: a\r\n" * 10_000),
        (GET + b"GET / HTTP/1.1\r\nX: ", b"a" * 65_536),
        (HEAD.replace(b"Content-Length", b"X") + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: ", b"a" * 65_536),
        (HEAD.replace(b"Content-Length", b"X") + b"Transfer-Encoding: chunked\r\n\r\n1;x=", b"a" * 65_536),
    ],
    ids=["one header", "many headers", "pipelined", "trailer", "chunk extension"],
)
def test_headers_without_an_end_do_not_fill_the_memory(server: Server, start: bytes, part: bytes) -> None:
    before = server.memory_mb()
    with connect(server) as client:
        client.sendall(start)
        fill(client, 200, part)
        wait_until(lambda: is_closed(client) or client.recv(65_536) == b"")
    assert server.memory_mb("VmHWM") < before + 20
    server.still_reads_right()


@pytest.mark.parametrize(
    "start", [b"G", b"GET / HTTP/1.1\r\nX-Slow: a", GET + b"GET / HTT", b"\r\n\r\nGET / HTTP/1.1\r\n"]
)
def test_headers_that_do_not_end_in_time_close_the_connection(quick: Server, start: bytes) -> None:
    with connect(quick) as client:
        began = time.monotonic()
        client.sendall(start)
        if start.startswith(GET):
            assert response(client)[0] == 200
        assert is_closed(client)
        assert 0.4 < time.monotonic() - began < 2


def drip_until_closed(client: socket.socket, byte: bytes) -> float:
    """Send it now and then; the seconds until the connection was closed, 5 if it was not."""
    began = time.monotonic()
    client.settimeout(0.1)
    while time.monotonic() < began + 5:
        try:
            client.sendall(byte)
            if client.recv(1) == b"":
                break
        except TimeoutError:
            pass
        except OSError:
            break
    return time.monotonic() - began


def test_a_byte_now_and_then_gives_no_more_time(quick: Server) -> None:
    with connect(quick) as client:
        assert drip_until_closed(client, b"G") < 2


SHORT_DEADLINE = HEAD + b"X-Request-Timeout-Ms: 50\r\n\r\n"


def test_a_body_that_still_comes_after_its_answer_gives_no_more_time_either(quick: Server) -> None:
    with connect(quick) as client:
        client.sendall(SHORT_DEADLINE)
        assert response(client)[0] == 408
        assert 0.4 < drip_until_closed(client, b"a") < 2


def test_a_body_that_ends_soon_after_its_answer_leaves_the_connection_open(quick: Server) -> None:
    with connect(quick) as client:
        client.sendall(SHORT_DEADLINE)
        assert response(client)[0] == 408
        client.sendall(SEVEN)
        time.sleep(0.8)  # longer than there is for it
        client.sendall(GET)
        assert response(client)[0] == 200


@pytest.mark.full
def test_a_connection_without_a_request_and_one_between_requests_stay_open_for_the_keep_alive_time(
    quick: Server,
) -> None:
    with connect(quick) as silent, connect(quick) as used:
        began = time.monotonic()
        used.sendall(GET)
        assert response(used)[0] == 200
        time.sleep(1)  # longer than the time for headers
        used.sendall(GET)
        assert response(used)[0] == 200
        assert is_closed(silent)
        assert 1.8 < time.monotonic() - began < 4


def test_a_body_may_take_longer_than_headers(quick: Server) -> None:
    with connect(quick) as client:
        client.sendall(HEAD + b"\r\n")
        time.sleep(0.8)
        client.sendall(SEVEN)
        assert response(client)[0] == 200
