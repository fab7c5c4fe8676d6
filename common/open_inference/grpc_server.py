"""The gRPC server beside the HTTP server: one event loop, one end.

At SIGTERM `grpc.health.v1.Health` says NOT_SERVING, calls are answered for DRAIN_SECONDS more, then clients are told to
connect elsewhere, and the calls in flight are finished. A port that cannot be had ends the process.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Annotated

import grpc
from grpc_health.v1.health import aio as health_aio
from grpc_health.v1.health_pb2 import HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server
from pydantic import BeforeValidator, Field

from common.inference.settings import ModelSettings
from common.open_inference.grpc_interceptor import GrpcEnvelope
from common.service.service import Service

logger = logging.getLogger(__name__)


GrpcPort = Annotated[int, BeforeValidator(lambda port: port or 0), Field(ge=0, lt=2**16)]


class GrpcSettings(ModelSettings):
    """A predictor that can be asked over gRPC too."""

    grpc_host: str = Field("127.0.0.1", description="address on which gRPC is served")
    grpc_port: GrpcPort = Field(9001, description="port on which gRPC is served; 0 or empty: it is not")


def add_grpc_server(
    app: Service,
    settings: GrpcSettings,
    service: str,
    handlers: grpc.GenericRpcHandler,
    envelope: GrpcEnvelope,
) -> None:
    """Serve `service`, whose methods are `handlers` in `envelope`, while the app runs."""

    @asynccontextmanager
    async def serve() -> AsyncIterator[None]:
        server, health = _server(settings), health_aio.HealthServicer()
        server.add_generic_rpc_handlers((handlers,))
        add_HealthServicer_to_server(health, server)
        _bind(server, settings)
        await health.set(service, HealthCheckResponse.SERVING)
        await server.start()
        logger.info("gRPC on %s:%s", settings.grpc_host, settings.grpc_port)
        draining, closing = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()
        app.process.on_drain.append(partial(loop.call_soon_threadsafe, draining.set))
        ending = asyncio.create_task(_end(server, health, envelope, draining, closing, settings))
        try:
            yield
        finally:
            draining.set()
            closing.set()
            await ending

    if settings.grpc_port:
        app.add_lifespan(serve)


def _server(settings: GrpcSettings) -> grpc.aio.Server:
    return grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", settings.max_body_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.http2.min_ping_interval_without_data_ms", 1_000),  # clients may ask whether we live
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.so_reuseport", 0),  # a port that another process has is an error, not half of the calls
        ]
    )


def _bind(server: grpc.aio.Server, settings: GrpcSettings) -> None:
    address = f"{settings.grpc_host}:{settings.grpc_port}"
    try:
        server.add_insecure_port(address)
    except RuntimeError:
        raise SystemExit(f"cannot start: gRPC cannot listen on {address}: set GRPC_PORT to a free port") from None


async def _end(
    server: grpc.aio.Server,
    health: health_aio.HealthServicer,
    envelope: GrpcEnvelope,
    draining: asyncio.Event,
    closing: asyncio.Event,
    settings: GrpcSettings,
) -> None:
    """From SIGTERM to the end of the server; the HTTP server waits and closes at the same times.

    Clients are told first to connect elsewhere (GOAWAY), or they would send the next call on the same connection; the
    calls in flight are finished. One that arrives at that very moment is CANCELLED, for its caller to try elsewhere.
    """
    await draining.wait()
    await health.enter_graceful_shutdown()
    with suppress(TimeoutError):
        await asyncio.wait_for(closing.wait(), settings.drain_seconds)
    stopping = asyncio.create_task(server.stop(settings.max_request_timeout_ms / 1e3))
    await asyncio.sleep(0)
    while envelope.calls_in_flight:  # noqa: ASYNC110  an event for it would cost each call a little
        await asyncio.sleep(0.01)
    await server.stop(None)  # who watches the health would hold on until the grace is over
    await stopping
