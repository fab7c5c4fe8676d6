"""Requests as bytes, for what a client library would not send, or would not send at once."""

import http.client
import json

from tests.support.service_process import Server


def raw_post(path: str, body: object, **headers: str) -> bytes:
    """A whole POST request with a body in JSON, to be sent at once."""
    content = json.dumps(body).encode()
    lines = [f"POST {path} HTTP/1.1", "Host: x", "Content-Type: application/json", f"Content-Length: {len(content)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode() + content


def raw_request(server: Server, method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, str, bytes]:
    """Status, content type and body; sent without a client library that would refuse to send what is wrong."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    try:
        connection.putrequest(method, path, skip_host="Host" in headers, skip_accept_encoding=True)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            connection.putheader(name, value.encode("latin-1"))
        connection.endheaders(body)
        response = connection.getresponse()
        return response.status, response.headers.get("Content-Type", ""), response.read()
    finally:
        connection.close()
