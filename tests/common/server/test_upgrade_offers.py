"""Clients that offer another protocol: h2c is ignored and the body read, a WebSocket is accepted."""

import json
import subprocess
import time
from pathlib import Path

import pytest
from fastapi import FastAPI, WebSocket
from websockets.sync.client import connect as connect_websocket

from common.service.service import Service
from common.service.settings import ServiceSettings
from tests.support.http.raw_connection import GET, HEAD, OFFER, QUICK, SEVEN, connect, is_closed, response
from tests.support.processes import output_of
from tests.support.samples import SAMPLES
from tests.support.service_process import Server, serving


@pytest.mark.parametrize("name", [b"Upgrade", b"upgrade", b"UPGRADE"])
@pytest.mark.parametrize("protocol", [b"h2c", b"H2C", b"TLS/1.0", b"h2c, foo", b"websocket", b"WebSocket"])
def test_the_body_of_a_request_with_an_upgrade_offer_is_read(server: Server, name: bytes, protocol: bytes) -> None:
    offer = OFFER.replace(b"Upgrade: h2c", name + b": " + protocol)
    with connect(server) as client:
        for _ in range(2):  # on one connection
            client.sendall(HEAD + offer + b"\r\n" + SEVEN)
            status, headers, body = response(client)
            assert (status, json.loads(body)["digit"]) == (200, 7)
            assert "upgrade" not in headers


@pytest.mark.parametrize("protocol", [b"h2c", b"websocket"])
@pytest.mark.parametrize("split", [False, True], ids=["in one packet", "in several"])
def test_pipelined_requests_with_an_upgrade_offer_are_answered_one_after_another(
    server: Server, split: bool, protocol: bytes
) -> None:
    request = HEAD + OFFER.replace(b"h2c", protocol) + b"\r\n" + SEVEN
    packets = [2 * request + request[:-100], request[-100:]] if split else [3 * request]
    with connect(server) as client:
        for packet in (*packets, GET):
            client.sendall(packet)
            time.sleep(0.1)
        for _ in range(3):
            status, _, body = response(client)
            assert (status, json.loads(body)["digit"]) == (200, 7)
        assert response(client)[0] == 200


@pytest.mark.parametrize("protocol", [b"h2c", b"websocket"])
def test_the_body_of_a_pipelined_request_with_an_offer_is_not_taken_for_a_request(
    server: Server, protocol: bytes
) -> None:
    offer = OFFER.replace(b"h2c", protocol)
    smuggled = b"POST /predict HTTP/1.1\r\nHost: test\r\n" + offer + b"Content-Length: %d\r\n\r\n" % len(GET) + GET
    with connect(server) as client:
        client.sendall(HEAD + offer + b"\r\n" + SEVEN + smuggled)
        assert [response(client)[0] for _ in range(2)] == [200, 415]
        client.sendall(HEAD + b"\r\n" + SEVEN)
        assert json.loads(response(client)[2])["digit"] == 7  # the next answer is that of the next request


@pytest.mark.parametrize("end", [b"\r\nUpg", b"\r\nUpgrade: h2", b"\r\nUpgrade: h2c"])
def test_an_offer_that_comes_in_two_packets_after_an_earlier_request_closes_the_connection(
    server: Server, end: bytes
) -> None:
    request = HEAD + OFFER + b"\r\n" + SEVEN
    cut = request.index(b"\r\nUpgrade: h2") + len(end)
    with connect(server) as client:
        client.sendall(request + request[:cut])
        assert response(client)[0] == 200
        client.sendall(request[cut:] + GET)
        assert response(client)[1]["connection"] == "close"
        assert is_closed(client)


def test_a_request_that_the_parser_refuses_is_answered_and_logged_once(server: Server) -> None:
    before = server.log.read_text().count("Invalid HTTP request")
    with connect(server) as client:
        client.sendall(b"GARBAGE" + 1_000 * b"\r\nUpgrade: h2c" + b"\r\n\r\n")
        assert response(client)[0] == 400
        assert is_closed(client)
    assert server.log.read_text().count("Invalid HTTP request") == before + 1


def test_a_body_that_mentions_an_upgrade_stays_as_it_is(server: Server) -> None:
    body = b'{"pixels": "\r\nUpgrade: h2c\r\n"}'
    with connect(server) as client:
        client.sendall(b"POST /predict HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n" + OFFER)
        client.sendall(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        assert response(client)[0] == 400
        client.sendall(GET)  # which would be taken for the end of a body that had become shorter
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
        serving("tests.common.server.test_upgrade_offers:create_app", options) as server,
        connect_websocket(f"ws://127.0.0.1:{server.port}/echo") as client,
    ):
        for text in ("seven", "two"):
            client.send(text)
            assert client.recv(5) == text
            time.sleep(1.5)  # longer than headers or an idle connection may take


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
