"""common/service/http_protocol.py: upgrade offers, headers without an end, and connections that take their time."""

import json
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI, WebSocket
from websockets.sync.client import connect as connect_websocket

from common.service.service import Service
from common.service.settings import ServiceSettings
from tests.support.processes import output_of, wait_until
from tests.support.samples import SAMPLES
from tests.support.service_process import Server, serving

SEVEN = (SAMPLES / "seven.png").read_bytes()
LIMIT = 64 * 1024
HEAD = b"POST /predict HTTP/1.1\r\nHost: test\r\nContent-Type: image/png\r\nContent-Length: %d\r\n" % len(SEVEN)
OFFER = (
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAAAAMAAAAAAAQBAAAAAAUA\r\n"
)
GET = b"GET /health/live HTTP/1.1\r\nHost: test\r\n\r\n"
QUICK = "tests.support.http.quick_protocol:QuickProtocol"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture(scope="module")
def quick() -> Iterator[Server]:
    """With half a second for headers."""
    with serving(options=f"--http {QUICK} --timeout-keep-alive 2") as server:
        yield server


def connect(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), 10)


def response(client: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """One response's status, headers and body."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = client.recv(65_536)
        assert part, data
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    while len(body) < int(headers["content-length"]):
        body += client.recv(65_536)
    return int(status.split()[1]), headers, body


def is_closed(client: socket.socket) -> bool:
    """Whether the server has closed the connection, perhaps while we were still sending."""
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("name", [b"Upgrade", b"upgrade", b"UPGRADE"])
@pytest.mark.parametrize("protocol", [b"h2c", b"H2C", b"TLS/1.0", b"h2c, foo"])
def test_the_body_of_a_request_with_an_upgrade_offer_is_read(server: Server, name: bytes, protocol: bytes) -> None:
    offer = OFFER.replace(b"Upgrade: h2c", name + b": " + protocol)
    with connect(server) as client:
        for _ in range(2):  # on one connection
            client.sendall(HEAD + offer + b"\r\n" + SEVEN)
            status, headers, body = response(client)
            assert (status, json.loads(body)["digit"]) == (200, 7)
            assert "upgrade" not in headers


@pytest.mark.parametrize("start", [b"", b"\r\n", b"\r\n\r\n"])
def test_empty_lines_between_requests_are_ignored(server: Server, start: bytes) -> None:
    with connect(server) as client:
        for _ in range(2):
            client.sendall(start)
            time.sleep(0.05)
            client.sendall(start + HEAD + OFFER + b"\r\n" + SEVEN)
            assert response(client)[0] == 200


@pytest.mark.parametrize("size", [1, 7, 50])
def test_the_body_is_read_however_the_request_is_cut_into_packets(server: Server, size: int) -> None:
    request = HEAD + OFFER + b"\r\n" + SEVEN
    with connect(server) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start in range(0, len(request), size):
            client.sendall(request[start : start + size])
        status, _, body = response(client)
        assert (status, json.loads(body)["digit"]) == (200, 7)


def test_a_body_that_mentions_an_upgrade_stays_as_it_is(server: Server) -> None:
    body = b'{"pixels": "\r\nUpgrade: h2c\r\n"}'
    with connect(server) as client:
        client.sendall(b"POST /predict HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n" + OFFER)
        client.sendall(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        assert response(client)[0] == 400
        client.sendall(GET)  # which would be taken for the end of a body that had become shorter
        assert response(client)[0] == 200


def test_pipelined_requests_are_answered_in_order(server: Server) -> None:
    with connect(server) as client:
        client.sendall(GET * 2 + HEAD + OFFER.replace(b"Upgrade: h2c\r\n", b"") + b"\r\n" + SEVEN + GET[:20])
        data = b""
        while b'"digit":7' not in data:
            data += client.recv(65_536)
        assert data.count(b"HTTP/1.1 200") == 3
        assert data.index(b'{"live":true}') < data.index(b'"digit":7')
        client.sendall(GET[20:])
        assert response(client)[2] == b'{"live":true}'


def packets_received(client: socket.socket) -> int:
    """`tcpi_data_segs_in` of Linux: how many packets with data this end has received."""
    packets: int = struct.unpack_from("I", client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 160), 152)[0]
    return packets


@pytest.mark.parametrize("request_", [HEAD + b"\r\n" + SEVEN, GET], ids=["lean", "fastapi"])
def test_the_headers_and_the_body_of_a_response_come_in_one_packet(server: Server, request_: bytes) -> None:
    with connect(server) as client:
        for answered in (1, 2, 3):
            client.sendall(request_)
            response(client)
            assert packets_received(client) == answered


def test_a_response_without_a_body_is_sent(server: Server) -> None:
    with connect(server) as client:
        for _ in range(2):
            client.sendall(GET.replace(b"GET", b"HEAD"))
            assert client.recv(65_536).startswith(b"HTTP/1.1 200 OK")


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


def test_a_byte_now_and_then_gives_no_more_time(quick: Server) -> None:
    with connect(quick) as client:
        began = time.monotonic()
        client.settimeout(0.1)
        closed = False
        while not closed and time.monotonic() < began + 5:
            try:
                client.sendall(b"G")
                closed = client.recv(1) == b""
            except TimeoutError:
                pass
            except OSError:
                closed = True
        assert time.monotonic() - began < 2


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


def create_app() -> FastAPI:
    """A service with a WebSocket of its own."""
    app = Service("own", ServiceSettings.from_environment())

    @app.websocket("/echo")
    async def echo(client: WebSocket) -> None:
        await client.accept()
        while True:
            await client.send_text(await client.receive_text())

    return app


@pytest.mark.full
def test_a_websocket_is_accepted_and_stays_open() -> None:
    options = f"--http {QUICK} --timeout-keep-alive 1"
    with (
        serving("tests.common.service.test_http_protocol:create_app", options) as server,
        connect_websocket(f"ws://127.0.0.1:{server.port}/echo") as client,
    ):
        for text in ("seven", "two"):
            client.send(text)
            assert client.recv(5) == text
            time.sleep(1.5)  # longer than headers or an idle connection may take


def test_what_is_no_http_is_refused_at_once(server: Server) -> None:
    with connect(server) as client:
        client.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")  # a TLS client
        assert response(client)[0] == 400


JAVA = """
import java.net.URI;
import java.net.http.*;
import java.nio.file.Path;

public class Post {
    public static void main(String[] arguments) throws Exception {
        HttpClient client = HttpClient.newHttpClient();
        for (int i = 0; i < 2; i++) {
            HttpRequest request = HttpRequest.newBuilder(URI.create(arguments[0]))
                .header("Content-Type", "image/png")
                .POST(HttpRequest.BodyPublishers.ofFile(Path.of(arguments[1])))
                .build();
            HttpResponse<String> response = client.send(request, HttpResponse.BodyHandlers.ofString());
            System.out.println(response.statusCode() + " " + response.body());
        }
    }
}
"""


@pytest.mark.full
@pytest.mark.java
def test_javas_http_client_as_it_is_posts_a_picture(server: Server, tmp_path: Path) -> None:
    (tmp_path / "Post.java").write_text(JAVA)
    subprocess.run(["javac", "Post.java"], cwd=tmp_path, check=True)
    printed = output_of("java", "-cp", str(tmp_path), "Post", f"{server.url}/predict", str(SAMPLES / "seven.png"))
    assert [line[:15] for line in printed.splitlines()] == ['200 {"digit":7,'] * 2
