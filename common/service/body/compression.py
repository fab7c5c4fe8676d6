"""Compressed bodies, both ways: gzip and deflate.

A few bytes can inflate to gigabytes, so no more is inflated than a body may have.
"""

import gzip
import zlib

from common.service.problems import Problem

WINDOW_BITS = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
MAX_MEMBERS = 100
"""Of one gzip body, one after another (RFC 1952, 2.2): more of them cost more time than they hold bytes."""
ACCEPTED = {"Accept-Encoding": "gzip, deflate"}
"""The header of an answer that rejects an encoding: it names those that are accepted (RFC 9110, 15.5.16)."""
WORTHWHILE_BYTES = 1024
"""A smaller answer fits into one packet as it is."""


def inflate(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """The body as it was before its Content-Encoding; raises `Problem` 400 (damaged), 413 (too long), 415."""
    if encoding in ("", "identity"):
        return body
    if encoding not in WINDOW_BITS:
        raise Problem(415, f"Content-Encoding: expected gzip or deflate, got {encoding!r:.60}", ACCEPTED)
    content = b""
    for _ in range(MAX_MEMBERS if "gzip" in encoding else 1):
        inflator = zlib.decompressobj(WINDOW_BITS[encoding])
        try:
            content += inflator.decompress(body, max_bytes + 1 - len(content))
        except zlib.error as error:
            raise Problem(400, f"the body is not {encoding} ({error})") from None
        if len(content) > max_bytes:
            raise Problem(413, f"expected a body of at most {max_bytes} bytes (MAX_BODY_BYTES), got more inflated")
        if not inflator.eof:
            raise Problem(400, f"the body is not {encoding} (cut short)")
        body = inflator.unused_data
        if not body or ("gzip" in encoding and not body.strip(b"\0")):  # zeros after it are padding, as for gzip
            return content
    raise Problem(400, f"the body is not {encoding} (goes on after its end)")


def deflate(body: bytes, accepted: str) -> tuple[bytes, dict[str, str]]:
    """The body, and the header that says how it is compressed, if the caller accepts that and it is worthwhile."""
    if len(body) < WORTHWHILE_BYTES:
        return body, {}
    for choice in accepted.lower().replace(" ", "").split(","):
        name, _, weight = choice.partition(";q=")
        if name in WINDOW_BITS and (not weight or weight.strip("0.")):  # a weight of 0 means: not this one
            packed = zlib.compress(body, 1) if name == "deflate" else gzip.compress(body, 1)
            return packed, {"Content-Encoding": name, "Vary": "Accept-Encoding"}
    return body, {}
