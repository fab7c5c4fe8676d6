"""Hypothesis strategies for requests to any service: headers, JSON that may be pictures, damaged files."""

from collections.abc import Callable

from hypothesis import HealthCheck, Phase, settings, strategies as st

from tests.support.inputs.pictures import SEVEN_IMAGE, encoded

AS_JSON = {"Content-Type": "application/json"}


def run_property(check: Callable[..., None], cases: int) -> None:
    """So many examples of a property, none of them stored, no time limit on one."""
    checks = list(HealthCheck)
    phases = [Phase.explicit, Phase.generate, Phase.shrink]
    settings(max_examples=cases, database=None, suppress_health_check=checks, phases=phases)(check)()


HEADER_VALUES = st.text(st.characters(max_codepoint=255, exclude_characters="\0\r\n"), max_size=60)
HEADERS = st.dictionaries(
    st.sampled_from(["Content-Type", "traceparent", "X-Request-Timeout-Ms", "Accept", "Host", "Connection", "X-Other"]),
    HEADER_VALUES
    | st.sampled_from(["application/json", "image/png", "image/jpeg", "1", "100000", "99999999999999999999", "*/*"]),
)
# Pixels from bytes, eight values to each step of ink: a list of 64 numbers would take hypothesis ten times as long.
PIXELS = st.binary(min_size=64, max_size=64).map(lambda data: [min(byte / 8, 16) for byte in data])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.just("pixels") | st.text(max_size=8), inner),
    max_leaves=10,
)
PICTURE = PIXELS.map(lambda pixels: {"pixels": pixels})
NEARLY = st.builds(
    lambda pixels, cut, wrong: {"pixels": pixels[cut:] + wrong}, PIXELS, st.integers(0, 4), st.lists(JSON)
)
DOCUMENTS = st.one_of(JSON, PICTURE, NEARLY, st.lists(PICTURE | NEARLY, max_size=4))
FILES = [encoded(SEVEN_IMAGE.resize((32, 32)), "PNG"), encoded(SEVEN_IMAGE.resize((32, 32)), "JPEG")]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A real file, with some bytes changed, or cut, or something at its end."""
    data = bytearray(draw(st.sampled_from(FILES)))
    for place in draw(st.lists(st.integers(0, len(data) - 1), max_size=8)):
        data[place] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.integers(0, len(data)) | st.just(len(data)))]) + draw(st.binary(max_size=20))
