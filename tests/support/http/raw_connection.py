"""Requests and responses as bytes on a connection, for tests of the HTTP protocol."""

import socket

from tests.support.samples import SAMPLES
from tests.support.service_process import Server

SEVEN = (SAMPLES / "seven.png").read_bytes()
HEAD = b"POST /predict HTTP/1.1\r\nHost: test\r\nContent-Type: image/png\r\nContent-Length: %d\r\n" % len(SEVEN)
OFFER = (
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAAAAMAAAAAAAQBAAAAAAUA\r\n"
)
GET = b"GET /health/live HTTP/1.1\r\nHost: test\r\n\r\n"
QUICK = "tests.support.http.quick_protocol:QuickProtocol"


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
