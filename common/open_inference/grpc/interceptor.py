"""The outermost gRPC interceptor: every call of the service, with a user's interceptors, runs inside of it.

So calls that a user's interceptor rejects are logged and counted too. An error of a unary call becomes its status; a
stream's requests are run, logged and counted one by one (`stream.py`), and the stream only if it fails itself.
"""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from functools import partial
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import DecodeError, Message

from common.open_inference.grpc.requests import (
    Context,
    GrpcCall,
    Method,
    RequestRunner,
    current_call,
    to_problem,
)
from common.open_inference.grpc.status import grpc_status, http_status
from common.service.problems import Problem, cut_traceback

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


class RequestInterceptor(grpc.aio.ServerInterceptor):
    """Wraps the methods of one gRPC service, unary ones and streams of requests and answers."""

    def __init__(self, runner: RequestRunner, service: str) -> None:
        self._runner = runner
        self._prefix = f"/{service}/"

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable["Handler | None"]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "Handler | None":
        """The method that gRPC found, wrapped; methods of other services (health, reflection) unchanged."""
        handler, path = await continuation(handler_call_details), handler_call_details.method
        if handler is None or not path.startswith(self._prefix):
            return handler
        codec = (handler.request_deserializer, handler.response_serializer)
        if handler.unary_unary and not inspect.iscoroutinefunction(handler.unary_unary):
            return handler  # a plain function of an interceptor, which gRPC runs in a thread
        if handler.unary_unary:
            return grpc.unary_unary_rpc_method_handler(partial(self._handle, handler.unary_unary, path), *codec)
        if handler.stream_stream:
            handle: Any = partial(self._handle_stream, handler.stream_stream, path)  # the stubs know generators only
            return grpc.stream_stream_rpc_method_handler(handle, *codec)
        return handler

    async def _handle(self, method: Method, path: str, request: Any, context: Context) -> Message:
        try:
            answer, metadata = await self._runner.run(method, path, request, context)
        except grpc.aio.AbortError as error:
            cut_traceback(error)
            raise
        finally:
            del request  # an aborted context keeps its error, whose traceback holds this frame
        context.set_trailing_metadata((*(context.trailing_metadata() or ()), *metadata))
        if isinstance(answer, Problem):
            await context.abort(grpc_status(answer), answer.detail)
        return answer

    async def _handle_stream(self, method: Method, path: str, requests: Any, context: Context) -> None:
        began = time.time()
        self._runner.in_flight += 1
        try:
            answers = method(requests, context)
            if inspect.isawaitable(answers):  # it writes its answers itself
                await answers
                return
            async with aclosing(answers):
                async for answer in answers:
                    await context.write(answer)
        except asyncio.CancelledError:
            raise
        except grpc.aio.AbortError:  # a user's interceptor has ended the stream
            self._runner.record_stream(path, began, http_status(context), context)
            raise
        except Exception as error:
            problem = to_problem(error, path)
            cut_traceback(error)
            self._runner.record_stream(path, began, problem.status_code, context)
            await context.abort(grpc_status(problem), problem.detail)
        finally:
            self._runner.in_flight -= 1


def method_handler(
    method: Callable[[Any, GrpcCall], Awaitable[Message]], request_type: type[Message], max_bytes: int
) -> Handler:
    """A handler for `method(request, call)`; raises `Problem` 400 (no such message) or 413 (more than `max_bytes`)."""
    return grpc.unary_unary_rpc_method_handler(with_current_call(method), parser(request_type, max_bytes), serialize)


def parser(request_type: type[Message], max_bytes: int) -> Callable[[bytes], Message | Problem]:
    """Makes messages of bytes. What is raised here, gRPC would answer with UNKNOWN, so a problem is returned."""

    def parse(data: bytes) -> Message | Problem:
        if len(data) > max_bytes:
            return Problem(413, f"expected a message of at most {max_bytes} bytes (MAX_BODY_BYTES), got {len(data)}")
        try:
            return request_type.FromString(data)
        except DecodeError:
            return Problem(400, f"expected a {request_type.DESCRIPTOR.full_name}, got bytes that are none")

    return parse


def with_current_call(method: Callable[[Any, GrpcCall], Awaitable[Message]]) -> Method:
    """The method, which gets the current call; raises the `Problem` that stands in for a request."""

    async def handle(request: Message | Problem, context: Context) -> Message:
        if isinstance(request, Problem):
            raise request
        return await method(request, current_call.get())

    return handle


def serialize(message: Message) -> bytes:
    """The bytes of an answer."""
    return message.SerializeToString()
