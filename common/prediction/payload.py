"""Features as bytes, for where they are kept or passed on: 64 little-endian floats of 32 bits for each scan."""

import numpy as np
from numpy.typing import NDArray

from common.domain.digits import FEATURES

FP32 = np.dtype("<f4")
SCAN_BYTES = FEATURES * FP32.itemsize


def to_payload(features: NDArray[np.float32]) -> bytes:
    """Features of shape (n, 64) -> n scans, one after another."""
    return features.astype(FP32, copy=False).tobytes()


def to_features(payload: bytes) -> NDArray[np.float32]:
    """The opposite; raises ValueError where the bytes are no whole number of scans."""
    return np.frombuffer(payload, FP32).reshape(-1, FEATURES)
