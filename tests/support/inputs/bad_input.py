"""Bodies that `POST /predict` refuses: the status of each, and a word of the detail."""

import gzip
import json
import zlib
from typing import NamedTuple

from PIL import Image

from tests.support.inputs.pictures import SEVEN_IMAGE, encoded
from tests.support.inputs.png_files import chunk, png_of
from tests.support.samples import SEVEN_PIXELS

JSON, PNG = "application/json", "image/png"


class Case(NamedTuple):
    """A request and its refusal: the status, and a word of the detail."""

    body: bytes
    content_type: str | None
    status: int
    word: str


def with_pixel(text: str) -> bytes:
    """64 pixels in JSON, of which one is this text."""
    return f'{{"pixels": [{text}, {", ".join(["1"] * 63)}]}}'.encode()


def pixels_document(*values: object) -> bytes:
    return json.dumps({"pixels": values}).encode()


GOOD = pixels_document(*SEVEN_PIXELS)
LONG_LIST = b"[" + b",".join([GOOD + b" " * 100] * 1_023 + [GOOD])
BLANK = pixels_document(*[0] * 64)
BIG_ZIP = zlib.compress(bytes(2501 * 20_000), 9)
CASES: dict[str, Case] = {
    "empty json": Case(b"", JSON, 400, "not JSON"),
    "empty png": Case(b"", PNG, 415, "PNG, JPEG or WebP"),
    "truncated png": Case(encoded(SEVEN_IMAGE)[:-2000], PNG, 400, "whole picture"),
    "truncated jpeg": Case(encoded(SEVEN_IMAGE, "JPEG")[:-2000], "image/jpeg", 400, "whole picture"),
    "20,000 x 20,000 png": Case(png_of(20_000, 20_000, chunk(b"IDAT", BIG_ZIP)), PNG, 413, "20000 x 20000"),
    "png of 2^31 pixels": Case(png_of(2**16, 2**15, chunk(b"IDAT", b"")), PNG, 413, "65536 x 32768"),
    "png of 2^62 pixels": Case(png_of(2**31 - 1, 2**31 - 1), PNG, 413, "smaller"),
    "gif": Case(encoded(SEVEN_IMAGE, "GIF"), "image/gif", 415, "image/png"),
    "gif as png": Case(encoded(SEVEN_IMAGE, "GIF"), PNG, 415, "PNG, JPEG or WebP"),
    "text as png": Case(b"seven", PNG, 415, "PNG, JPEG or WebP"),
    "json as png": Case(GOOD, PNG, 415, "PNG, JPEG or WebP"),
    "png as json": Case(encoded(SEVEN_IMAGE), JSON, 400, "not JSON"),
    "blank png": Case(encoded(Image.new("L", (64, 64), 255)), PNG, 422, "ink"),
    "63 pixels": Case(pixels_document(*[1] * 63), JSON, 422, "64"),
    "65 pixels": Case(pixels_document(*[1] * 65), JSON, 422, "64"),
    "nan": Case(with_pixel("NaN"), JSON, 422, "pixels[0]"),
    "infinity": Case(with_pixel("Infinity"), JSON, 422, "pixels[0]"),
    "minus infinity": Case(with_pixel("-Infinity"), JSON, 422, "pixels[0]"),
    "1e999": Case(with_pixel("1e999"), JSON, 422, "pixels[0]"),
    "5,000 digits": Case(with_pixel("9" * 5_000), JSON, 400, "not JSON"),
    "a million digits": Case(with_pixel("9" * 1_000_000), JSON, 413, "MAX_ITEM_BYTES"),
    "two million pixels": Case(pixels_document(*[1] * 2_000_000), JSON, 413, "65536 bytes"),
    "list of two million pixels": Case(b"[" + pixels_document(*[1] * 2_000_000) + b"]", JSON, 413, "65536 bytes"),
    "null": Case(with_pixel("null"), JSON, 422, "pixels[0]"),
    "string": Case(with_pixel('"7"'), JSON, 422, "pixels[0]"),
    "true": Case(with_pixel("true"), JSON, 422, "pixels[0]"),
    "nested pixel": Case(with_pixel("[1]"), JSON, 422, "pixels[0]"),
    "below 0": Case(with_pixel("-0.001"), JSON, 422, "pixels[0]"),
    "above 16": Case(with_pixel("16.001"), JSON, 422, "pixels[0]"),
    "no ink": Case(BLANK, JSON, 422, "ink"),
    "nested 4,000 deep": Case(b"[" * 4_000 + b"]" * 4_000, JSON, 400, "not JSON"),
    "nested 100,000 deep": Case(b"[" * 100_000 + b"]" * 100_000, JSON, 413, "65536 bytes"),
    "objects nested 800 deep": Case(b'{"pixels":' * 800, JSON, 400, "not JSON"),
    "pixels nested 3,000 deep": Case(with_pixel("[" * 3_000 + "]" * 3_000), JSON, 400, "not JSON"),
    "16 MiB of json and more": Case(b"[" + b"0," * 2**23 + b"0]", JSON, 413, "bytes"),
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
    "list with one bad picture": Case(b"[" + GOOD + b"," + pixels_document(*[1] * 63) + b"]", JSON, 422, "[1].pixels"),
    "list with one blank picture": Case(b"[" + GOOD + b"," + BLANK + b"]", JSON, 422, "[1].pixels"),
    "list of lists": Case(b"[[" + GOOD + b"]]", JSON, 422, "[0]"),
    "1,025 pictures": Case(b"[" + b",".join([GOOD] * 1_025) + b"]", JSON, 413, "at most 1024 pictures"),
    "40,000 pictures": Case(b"[" + b",".join([GOOD] * 40_000) + b"]", JSON, 413, "at most 1024 pictures"),
    "15 MB of short pictures": Case(b"[" + b'{"pixels":[1]},' * 1_000_000 + b"{}]", JSON, 422, "[0].pixels"),
    "many pictures, one of them long": Case(
        b"[" + (GOOD + b",") * 1_000 + pixels_document(*[1] * 2_000_000) + b"]",
        JSON,
        413,
        "[1000]: expected at most 65536",
    ),
    "a long list with a comma at its end": Case(LONG_LIST[: -len(GOOD)] + b"]", JSON, 400, "[1023]: not JSON"),
    "a long list without a comma": Case(LONG_LIST + GOOD + b"]", JSON, 400, "a comma"),
    "a long list without an end": Case(LONG_LIST, JSON, 400, "the list's end"),
    "a long list and more": Case(LONG_LIST + b"]]", JSON, 400, "the list's end"),
    "a long list cut in a picture": Case(LONG_LIST[:-1], JSON, 400, "[1023]: not JSON (EOF"),
    "a long list that is empty": Case(b"[" + b" " * 300_000 + b"]", JSON, 422, "empty list"),
}
