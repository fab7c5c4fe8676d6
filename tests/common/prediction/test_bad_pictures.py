"""Pictures that cannot be read: refused with a 4xx, without memory, warnings or any other exception."""

import subprocess
import sys
import zlib

import pytest
from hypothesis import given, strategies as st
from PIL import Image

from common.domain import digits
from common.domain.ink import InvalidImage
from tests.support.inputs.pictures import COMMON, MAX_PIXELS, SEVEN_IMAGE, encoded, only_features_or_a_problem
from tests.support.inputs.png_files import chunk, png_of


@pytest.mark.parametrize(
    ("data", "status"),
    {
        "empty": (b"", 415),
        "text": (b"seven", 415),
        "gif": (encoded(SEVEN_IMAGE, "GIF"), 415),
        "cut png": (encoded(SEVEN_IMAGE)[:-2000], 400),
        "cut jpeg": (encoded(SEVEN_IMAGE, "JPEG")[:-2000], 400),
        "png header only": (encoded(SEVEN_IMAGE)[:40], 400),
        "png magic only": (b"\x89PNG\r\n\x1a\n", 400),
        "png without pixels": (png_of(8, 8), 400),
        "png of no width": (png_of(0, 8), 400),
        "blank white": (encoded(Image.new("L", (64, 64), 255)), 422),
        "blank colour": (encoded(Image.new("RGB", (64, 64), (9, 200, 30))), 422),
        "one pixel": (encoded(Image.new("L", (1, 1))), 422),
        "transparent": (encoded(Image.new("RGBA", (64, 64))), 422),
        "too many pixels": (encoded(Image.new("1", (4000, 4000))), 413),
        "2^31 pixels": (png_of(2**16, 2**15), 413),
        "2^62 pixels": (png_of(2**31 - 1, 2**31 - 1), 413),
    }.values(),
)
def test_picture_that_cannot_be_read_is_refused(data: bytes, status: int) -> None:
    with pytest.raises(InvalidImage) as caught:
        digits.from_image(data, MAX_PIXELS)
    assert caught.value.status == status
    assert str(caught.value).startswith("body: ")
    assert len(str(caught.value)) < 300


BOMBS = {
    "WebP of 12,000 x 12,000 pixels": lambda: bytes.fromhex(
        "524946461e000000574542505650384c110000002fdfeeb70b07d0fffef7bfff8188e87f0000"
    ),
    "20,000 x 20,000 pixels": lambda: png_of(20_000, 20_000, chunk(b"IDAT", zlib.compress(bytes(2501 * 20_000), 9))),
    "2^62 pixels": lambda: png_of(2**31 - 1, 2**31 - 1),
    "1 GB of text": lambda: png_of(8, 8, *[chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**7)))] * 100),
    "colour profile": lambda: png_of(8, 8, chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(10**8)))),
}
MEASURE = """
import resource, sys
from common.domain import digits
from common.domain.ink import InvalidImage
data = sys.stdin.buffer.read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    digits.from_image(data, 10_000_000)
except InvalidImage as problem:
    status = problem.status
print(status, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def in_a_process_of_its_own(program: str, data: bytes) -> tuple[str, str]:
    """Standard output and standard error of a Python program that reads `data`, with every warning shown."""
    command = [sys.executable, "-W", "default", "-c", program]
    done = subprocess.run(command, input=data, capture_output=True, check=True, cwd=COMMON.parent, timeout=60)
    return done.stdout.decode(), done.stderr.decode()


@pytest.mark.parametrize("bomb", BOMBS)
def test_bomb_is_refused_without_memory_or_warning(bomb: str) -> None:
    output, warnings = in_a_process_of_its_own(MEASURE, BOMBS[bomb]())
    status, megabytes = map(int, output.split())
    assert status == (413 if "pixels" in bomb else 400)
    assert megabytes < 80
    assert warnings == ""


def test_damaged_exif_prints_no_warning() -> None:
    jpeg = encoded(SEVEN_IMAGE, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\x00" + b"\x12\x01\x03\0\xff\xff\xff\xff" * 3)
    program = (
        "import sys; from common.domain import digits; print(digits.from_image(sys.stdin.buffer.read(), 10**7).shape)"
    )
    assert in_a_process_of_its_own(program, jpeg) == ("(64,)\n", "")


@given(
    st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\x00\x01\x00\x00WEBPVP8 "]),
    st.binary(max_size=300),
)
def test_whatever_bytes_come_only_features_or_a_problem_result(magic: bytes, rest: bytes) -> None:
    only_features_or_a_problem(lambda: digits.from_image(magic + rest, MAX_PIXELS))


@given(
    st.sampled_from(["PNG", "JPEG", "WEBP"]),
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=5),
)
def test_whatever_byte_is_damaged_only_features_or_a_problem_result(kind: str, damage: list[tuple[int, int]]) -> None:
    data = bytearray(encoded(SEVEN_IMAGE.resize((32, 32)).convert("P" if kind == "PNG" else "L"), kind))
    for place, value in damage:
        data[place % len(data)] = value
    only_features_or_a_problem(lambda: digits.from_image(bytes(data), MAX_PIXELS))
