"""What the tests of pictures share: a real seven, its bytes in any format, a reader, and what may come of any bytes."""

import io
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from common.domain import digits
from common.domain.ink import InvalidImage
from common.service.problems import Problem
from common.training.measure import runner

COMMON = Path(digits.__file__).parents[1]
MAX_PIXELS = 10_000_000
SEVEN_IMAGE = Image.open(COMMON / "samples" / "seven.png").convert("L")
INVERTED = Image.eval(SEVEN_IMAGE, lambda value: 255 - value)
read = runner((COMMON / "models" / "mlp.onnx").read_bytes())


def digit_of(data: bytes) -> int:
    """What the everyday reader makes of a picture."""
    return int(read(digits.from_image(data, MAX_PIXELS)[None])[0][0])


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    """The picture as a file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def only_features_or_a_problem(call: Callable[[], NDArray[np.float32]]) -> None:
    """Fails on any exception but a `Problem`, and on a result that is no features."""
    with suppress(Problem, InvalidImage):
        features = call()
        assert features.shape[-1] == 64
        assert features.dtype == np.float32
        assert features.min() >= 0
        assert features.max() <= 16
