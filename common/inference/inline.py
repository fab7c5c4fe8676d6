"""Which batches may run inline, in the event loop: those that block it no longer than a hop to a thread takes."""

from math import prod

import numpy as np

from common.inference.batcher import NEVER_INLINE
from common.inference.model import Model
from common.inference.tensor_spec import ANY, TensorSpec

THREAD_HOP_SECONDS = 38e-6
"""What it costs to run something in a worker thread and come back (measured: 24 to 38 µs)."""
MAX_LOOP_BLOCK_SECONDS = 5e-3
"""How long a batch may block the event loop, and with it the health checks."""


def inline_elements(model: Model) -> float:
    """The most input elements of a batch that may run inline: none if one row takes longer than a hop to a thread.

    It assumes that a large batch takes no longer for each element than the one row of the warm-up. That fails only for
    a graph whose time grows faster than its input; the batcher measures that.
    """
    if model.seconds_per_row >= THREAD_HOP_SECONDS or _may_take_lengths(model):
        return NEVER_INLINE
    return MAX_LOOP_BLOCK_SECONDS / model.seconds_per_row * model.elements_per_row


def _may_take_lengths(model: Model) -> bool:
    """Whether a value of the input may say how long an output is, or how many steps a loop has: one says a billion."""
    is_fixed = model.is_batched and not any(ANY in spec.shape[1:] for spec in model.outputs)
    return not is_fixed and any(_may_be_length(spec, model.is_batched) for spec in model.inputs)


def _may_be_length(spec: TensorSpec, is_batched: bool) -> bool:
    """Whole numbers other than the bytes of a picture, or a single number."""
    shape = spec.shape[1:] if is_batched else spec.shape
    is_single = ANY not in shape and prod(shape) <= 1 and spec.dtype.kind != "O"
    return is_single or (spec.dtype.kind in "iu" and spec.dtype != np.uint8)
