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
    """One response's status, headers and body; what follows it stays in the socket."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = client.recv(1)
        assert byte, head
        head += byte
    status, *lines = head.decode().strip().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    length, body = int(headers["content-length"]), b""
    while len(body) < length:
        body += client.recv(length - len(body))
    return int(status.split()[1]), headers, body


def is_closed(client: socket.socket) -> bool:
    """Whether the server has closed the connection, perhaps while we were still sending."""
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True
