"""common/server/http_protocol.py: requests however they are cut, and responses in one packet."""

import contextlib
import json
import socket
import struct
import time

import pytest

from tests.support.http.raw_connection import GET, HEAD, OFFER, SEVEN, connect, response
from tests.support.service_process import Server


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


def test_bytes_that_are_no_http_are_refused_at_once(server: Server) -> None:
    with connect(server) as client:
        client.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")  # a TLS client
        assert response(client)[0] == 400


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_a_client_that_sends_no_more_still_gets_its_response(server: Server, method: bytes) -> None:
    """As with `nc -N`; a response of headers alone waits for the end of the turn, and the end comes before that."""
    for _ in range(10):
        with connect(server) as client:
            client.sendall(GET.replace(b"GET", method))
            client.shutdown(socket.SHUT_WR)
            assert client.recv(65_536).startswith(b"HTTP/1.1 200 OK")


def test_pipelined_requests_are_read_no_faster_than_they_are_answered(server: Server) -> None:
    """Neither do they fill the memory, although this client reads no answers, nor does anyone else wait for them."""
    before = server.memory_mb()
    with connect(server) as client:
        client.settimeout(0.5)
        with contextlib.suppress(TimeoutError):
            client.sendall(GET * (10_000_000 // len(GET)))
        assert server.get("/health/live").elapsed.total_seconds() < 0.5
        assert server.memory_mb() < before + 200
