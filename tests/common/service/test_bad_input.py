"""Bad input: a clear 4xx each that says what to send instead, and nobody else is harmed."""

import gzip
import json
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import httpx
import pytest
from PIL import Image

from tests.common.prediction.test_bad_pictures import chunk, png_of
from tests.support.pictures import SEVEN, encoded
from tests.support.service_process import SEVEN_PIXELS, Server, serving

JSON, PNG = "application/json", "image/png"


class Case(NamedTuple):
    """A request and its refusal: the status, and a word of the detail."""

    body: bytes
    content_type: str | None
    status: int
    word: str


def pixels(text: str) -> bytes:
    """64 pixels in JSON, of which one is this text."""
    return f'{{"pixels": [{text}, {", ".join(["1"] * 63)}]}}'.encode()


def of(*values: object) -> bytes:
    return json.dumps({"pixels": values}).encode()


GOOD = of(*SEVEN_PIXELS)
BLANK = of(*[0] * 64)
BIG_ZIP = zlib.compress(bytes(2501 * 20_000), 9)

CASES: dict[str, Case] = {
    "empty json": Case(b"", JSON, 400, "not JSON"),
    "empty png": Case(b"", PNG, 415, "PNG or JPEG"),
    "truncated png": Case(encoded(SEVEN)[:-2000], PNG, 400, "whole PNG"),
    "truncated jpeg": Case(encoded(SEVEN, "JPEG")[:-2000], "image/jpeg", 400, "whole PNG or JPEG"),
    "20,000 x 20,000 png": Case(png_of(20_000, 20_000, chunk(b"IDAT", BIG_ZIP)), PNG, 413, "20000 x 20000"),
    "png of 2^31 pixels": Case(png_of(2**16, 2**15, chunk(b"IDAT", b"")), PNG, 413, "65536 x 32768"),
    "png of 2^62 pixels": Case(png_of(2**31 - 1, 2**31 - 1), PNG, 413, "smaller"),
    "gif": Case(encoded(SEVEN, "GIF"), "image/gif", 415, "image/png"),
    "gif as png": Case(encoded(SEVEN, "GIF"), PNG, 415, "PNG or JPEG"),
    "text as png": Case(b"seven", PNG, 415, "PNG or JPEG"),
    "json as png": Case(GOOD, PNG, 415, "PNG or JPEG"),
    "png as json": Case(encoded(SEVEN), JSON, 400, "not JSON"),
    "blank png": Case(encoded(Image.new("L", (64, 64), 255)), PNG, 422, "ink"),
    "63 pixels": Case(of(*[1] * 63), JSON, 422, "64"),
    "65 pixels": Case(of(*[1] * 65), JSON, 422, "64"),
    "nan": Case(pixels("NaN"), JSON, 422, "pixels[0]"),
    "infinity": Case(pixels("Infinity"), JSON, 422, "pixels[0]"),
    "minus infinity": Case(pixels("-Infinity"), JSON, 422, "pixels[0]"),
    "1e999": Case(pixels("1e999"), JSON, 422, "pixels[0]"),
    "a million digits": Case(pixels("9" * 1_000_000), JSON, 400, "not JSON"),
    "null": Case(pixels("null"), JSON, 422, "pixels[0]"),
    "string": Case(pixels('"7"'), JSON, 422, "pixels[0]"),
    "true": Case(pixels("true"), JSON, 422, "pixels[0]"),
    "nested pixel": Case(pixels("[1]"), JSON, 422, "pixels[0]"),
    "below 0": Case(pixels("-0.001"), JSON, 422, "pixels[0]"),
    "above 16": Case(pixels("16.001"), JSON, 422, "pixels[0]"),
    "no ink": Case(BLANK, JSON, 422, "ink"),
    "nested 100,000 deep": Case(b"[" * 100_000 + b"]" * 100_000, JSON, 400, "not JSON"),
    "objects nested 100,000 deep": Case(b'{"pixels":' * 100_000, JSON, 400, "not JSON"),
    "pixels nested 100,000 deep": Case(pixels("[" * 100_000 + "]" * 100_000), JSON, 400, "not JSON"),
    "12 MB of json": Case(b"[" + b"0," * 6_000_000 + b"0]", JSON, 413, "bytes"),
    "4 MB of wrong pictures": Case(b"[" + b"{}," * 1_300_000 + b"{}]", JSON, 422, "[0]"),
    "latin-1": Case('{"pixels": "é"}'.encode("latin-1"), JSON, 400, "not JSON"),
    "utf-16": Case(GOOD.decode().encode("utf-16"), "application/json; charset=utf-16", 400, "not JSON"),
    "gzip": Case(gzip.compress(GOOD), JSON, 400, "not JSON"),
    "lone surrogate": Case(b'{"pixels": "\\ud800"}', JSON, 400, "not JSON"),
    "two documents": Case(GOOD + GOOD, JSON, 400, "not JSON"),
    "single quotes": Case(GOOD.replace(b'"', b"'"), JSON, 400, "not JSON"),
    "no content type": Case(GOOD, None, 415, "application/json"),
    "wrong content type": Case(GOOD, "text/plain", 415, "'text/plain'"),
    "form": Case(b"pixels=1", "application/x-www-form-urlencoded", 415, "application/json"),
    "content type of noise": Case(GOOD, "\xff\xfe;;=", 415, "application/json"),
    "[]": Case(b"[]", JSON, 422, "empty list"),
    "{}": Case(b"{}", JSON, 422, "pixels"),
    "a number": Case(b"7", JSON, 422, "body"),
    "the word null": Case(b"null", JSON, 422, "body"),
    "a string": Case(b'"seven"', JSON, 422, "body"),
    "a misspelt field": Case(GOOD.replace(b"pixels", b"pixel"), JSON, 422, "pixels"),
    "one field too many": Case(GOOD[:-1] + b', "digit": 7}', JSON, 422, "digit"),
    "no list": Case(b'{"pixels": 7}', JSON, 422, "pixels"),
    "list with one bad picture": Case(b"[" + GOOD + b"," + of(*[1] * 63) + b"]", JSON, 422, "[1].pixels"),
    "list with one blank picture": Case(b"[" + GOOD + b"," + BLANK + b"]", JSON, 422, "[1].pixels"),
    "list of lists": Case(b"[[" + GOOD + b"]]", JSON, 422, "[0]"),
    "65 pictures": Case(b"[" + b",".join([GOOD] * 65) + b"]", JSON, 413, "at most 64 pictures"),
}


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


def test_a_health_check_stays_quick_beside_long_bad_bodies(server: Server) -> None:
    long = [case for case in CASES.values() if len(case.body) > 1_000_000]
    with ThreadPoolExecutor(2) as threads:
        busy = [threads.submit(send, server, case) for case in long * 3]
        slowest = 0.0
        while not all(future.done() for future in busy):
            slowest = max(slowest, server.get("/health/live").elapsed.total_seconds())
    assert slowest < 0.5
