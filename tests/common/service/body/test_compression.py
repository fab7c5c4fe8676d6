"""A compressed request body is inflated at any endpoint, within MAX_BODY_BYTES."""

import gzip
import json
import zlib
from collections.abc import Callable

import pytest

from tests.support.http.problems import is_problem
from tests.support.samples import PNG, SAMPLES, SEVEN_PIXELS
from tests.support.service_process import Server

SEVEN = json.dumps({"pixels": SEVEN_PIXELS}).encode()
JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
@pytest.mark.parametrize(
    ("body", "headers"), [(SEVEN, JSON), ((SAMPLES / "seven.png").read_bytes(), PNG)], ids=["json", "png"]
)
def test_compressed_picture_is_read(
    server: Server, body: bytes, headers: dict[str, str], encoding: str, pack: Callable[[bytes], bytes]
) -> None:
    answer = server.client.post("/predict", content=pack(body), headers=headers | {"Content-Encoding": encoding})
    assert (answer.status_code, answer.json()["digit"]) == (200, 7)


def test_a_gzip_body_of_several_members_is_all_of_them(server: Server) -> None:
    body = gzip.compress(SEVEN[:40]) + gzip.compress(b"") + gzip.compress(SEVEN[40:])
    answer = server.client.post("/predict", content=body, headers=JSON | {"Content-Encoding": "gzip"})
    assert (answer.status_code, answer.json()["digit"]) == (200, 7)


def test_zeros_after_a_gzip_body_are_padding(server: Server) -> None:
    body = gzip.compress(SEVEN) + bytes(512)
    answer = server.client.post("/predict", content=body, headers=JSON | {"Content-Encoding": "gzip"})
    assert (answer.status_code, answer.json()["digit"]) == (200, 7)


@pytest.mark.parametrize(
    ("body", "encoding", "status", "word"),
    [
        (gzip.compress(bytes(10**8)), "gzip", 413, "MAX_BODY_BYTES"),
        (gzip.compress(bytes(10**7)) * 2, "gzip", 413, "MAX_BODY_BYTES"),
        (gzip.compress(SEVEN)[:-9], "gzip", 400, "cut short"),
        (gzip.compress(SEVEN) + b"more", "gzip", 400, "not gzip"),
        (gzip.compress(SEVEN) + bytes(512) + b"more", "gzip", 400, "not gzip"),
        (gzip.compress(b"") * 10_000, "gzip", 400, "goes on"),
        (zlib.compress(SEVEN) * 2, "deflate", 400, "goes on"),
        (SEVEN, "gzip", 400, "not gzip"),
        (SEVEN, "br", 415, "expected gzip or deflate"),
    ],
    ids=["bomb", "two bombs", "cut", "more", "more after zeros", "members", "deflated twice", "plain", "brotli"],
)
def test_body_that_cannot_be_inflated_is_a_problem(
    server: Server, body: bytes, encoding: str, status: int, word: str
) -> None:
    answer = server.client.post("/predict", content=body, headers=JSON | {"Content-Encoding": encoding})
    is_problem(answer, status, word)
    assert status != 415 or answer.headers["accept-encoding"] == "gzip, deflate"
    server.still_reads_right()
