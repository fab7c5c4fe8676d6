"""`ModelStreamInfer`, Triton's stream of requests: each is answered, in their order.

A request that fails is answered with `error_message`, and the stream goes on. Requests are read ahead, so that those of
one stream share batches. How far is bounded, by rows and by bytes; the rest waits at the client, by HTTP/2's flow
control. When the server ends, requests that were read are answered, then the stream ends with UNAVAILABLE.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc

from common.open_inference.generated import open_inference_pb2 as pb
from common.open_inference.grpc.requests import Answered, Context, Method, RequestRunner
from common.open_inference.grpc.stream_window import StreamWindow
from common.service.problems import Problem

Request = pb.ModelInferRequest | Problem
"""What was received: a message, or why it is none."""


class InferStreams:
    """The streams of one server. `infer` answers one request, `window` makes the bounds of one stream."""

    def __init__(self, runner: RequestRunner, path: str, infer: Method, window: Callable[[], StreamWindow]) -> None:
        self._runner = runner
        self._path = path
        self._infer = infer
        self._window = window
        self._open: set[InferStream] = set()
        self._closing = False

    async def handle(self, requests: AsyncIterator[Request], context: Context) -> AsyncIterator[Any]:
        """The answers to one stream of requests."""

        async def answer(request: Request) -> Answered:
            return await self._runner.run(self._infer, self._path, request, context)

        stream = InferStream(requests, answer, self._window())
        self._open.add(stream)
        if self._closing:
            stream.close()
        try:
            async for response in stream.responses():
                yield response
        finally:
            self._open.discard(stream)
            stream.cancel()
        if stream.is_closed:
            context.set_code(grpc.StatusCode.UNAVAILABLE)
            context.set_details("the server is shutting down: open another stream")

    def close(self) -> None:
        """Read no more requests; each stream ends once those that were read are answered."""
        self._closing = True
        for stream in self._open:
            stream.close()


class InferStream:
    """One open stream: a task reads requests and starts one for each; `responses` awaits these in order."""

    def __init__(
        self, requests: AsyncIterator[Request], answer: Callable[[Request], Any], window: StreamWindow
    ) -> None:
        self.is_closed = False
        self._requests = aiter(requests)
        self._answer = answer
        self._window = window
        self._started: asyncio.Queue[tuple[Request, asyncio.Task[Answered]] | None] = asyncio.Queue()
        self._tasks: set[asyncio.Task[Answered]] = set()
        self._is_waiting = False
        self._reader = asyncio.create_task(self._read())
        self._reader.add_done_callback(lambda _: self._started.put_nowait(None))

    async def responses(self) -> AsyncIterator[pb.ModelStreamInferResponse]:
        """A response to each request; what cannot be read raises what the read raised."""
        while started := await self._started.get():
            request, task = started
            yield to_response(request, (await task).answer)
            self._window.leave(request)  # once its response was sent: a client that reads slowly is read slowly
        if not self._reader.cancelled():
            self._reader.result()

    def close(self) -> None:
        """Read no more; a request that was read still gets its answer."""
        self.is_closed = True
        if self._is_waiting:
            self._reader.cancel()

    def cancel(self) -> None:
        """Cancel whatever still runs: no client waits for it."""
        self._reader.cancel()
        for task in self._tasks:
            task.cancel()

    async def _read(self) -> None:
        while not self.is_closed:
            self._is_waiting = True
            request = await anext(self._requests, None)
            self._is_waiting = False
            if request is None:
                return
            await self._window.enter(request)
            task = asyncio.create_task(self._answer(request))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            self._started.put_nowait((request, task))


def to_response(request: Request, answer: Any) -> pb.ModelStreamInferResponse:
    """The answer to one request, or in its place the problem's sentence; the request's `id` either way."""
    if not isinstance(answer, Problem):
        response = pb.ModelStreamInferResponse(infer_response=answer)
        response.infer_response.parameters["triton_final_response"].bool_param = True  # no other follows
        return response
    named = pb.ModelInferResponse()
    if not isinstance(request, Problem):
        named = pb.ModelInferResponse(model_name=request.model_name, id=request.id)
    return pb.ModelStreamInferResponse(error_message=answer.detail, infer_response=named)
