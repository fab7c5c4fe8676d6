"""How far a stream of requests is read ahead: so many rows, and so many bytes, whichever is less.

Two batches of rows keep the model busy, one that runs and one that waits. So a stream neither fills the queue that all
clients share, nor holds more of a server's memory than one long request.
"""

import asyncio

from common.inference.predictor import Predictor
from common.open_inference.generated import open_inference_pb2 as pb
from common.service.problems import Problem

Request = pb.ModelInferRequest | Problem


class StreamWindow:
    """The requests of one stream that were read, and whose responses were not sent yet."""

    def __init__(self, predictor: Predictor, max_rows: int, max_bytes: int) -> None:
        self._counts_rows = predictor.model.is_batched
        self._max_rows, self._max_bytes = max_rows, max_bytes
        self._rows = self._bytes = 0
        self._left = asyncio.Event()

    async def enter(self, request: Request) -> None:
        """Wait until there is room for this request; one alone always fits, the limits of a call are its limits."""
        rows, size = self._size(request)
        while self._rows and (self._rows + rows > self._max_rows or self._bytes + size > self._max_bytes):
            self._left.clear()
            await self._left.wait()
        self._rows += rows
        self._bytes += size

    def leave(self, request: Request) -> None:
        """Make room."""
        rows, size = self._size(request)
        self._rows -= rows
        self._bytes -= size
        self._left.set()

    def _size(self, request: Request) -> tuple[int, int]:
        """Rows, at least 1, as the request says before it is checked; bytes."""
        if isinstance(request, Problem):
            return 1, 0
        shape = request.inputs[0].shape if request.inputs else ()
        return max(1, shape[0]) if self._counts_rows and shape else 1, request.ByteSize()
