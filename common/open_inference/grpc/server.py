"""The gRPC server beside the HTTP server, in the same event loop and with the same shutdown.

At SIGTERM `grpc.health.v1.Health` says NOT_SERVING, and calls are answered for DRAIN_SECONDS more. Then clients are
asked to connect elsewhere (GOAWAY), and calls in flight are finished; of streams, the requests that were read. A port
that is taken ends the process.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial

import grpc
from grpc_health.v1.health import aio as health_aio
from grpc_health.v1.health_pb2 import HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server
from grpc_reflection.v1alpha import reflection

from common.open_inference.grpc.requests import RequestRunner
from common.open_inference.grpc.stream import InferStreams
from common.open_inference.settings import GrpcSettings
from common.service.service import Service

logger = logging.getLogger(__name__)

GOAWAY_SECONDS = 1.0
"""Clients hang up once they have read it; one that watches the health does not, and is not waited for any longer."""


def add_grpc_server(
    app: Service,
    settings: GrpcSettings,
    service: str,
    handlers: grpc.GenericRpcHandler,
    runner: RequestRunner,
    streams: InferStreams,
    interceptors: Sequence[grpc.aio.ServerInterceptor],
) -> None:
    """Serve `service`, health and reflection while the app runs; the first of the `interceptors` is the outermost."""

    @asynccontextmanager
    async def serve() -> AsyncIterator[None]:
        server = _create_server(settings, interceptors)
        health = health_aio.HealthServicer()
        server.add_generic_rpc_handlers((handlers,))
        add_HealthServicer_to_server(health, server)
        reflection.enable_server_reflection((service, "grpc.health.v1.Health", reflection.SERVICE_NAME), server)
        _bind(server, settings)
        await health.set(service, HealthCheckResponse.SERVING)
        await server.start()
        logger.info("gRPC on %s:%s", settings.grpc_host, settings.grpc_port)
        draining, closing = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()
        app.process.on_drain.append(partial(loop.call_soon_threadsafe, draining.set))
        shutdown = asyncio.create_task(_shut_down(server, health, runner, streams, draining, closing, settings))
        try:
            yield
        finally:
            draining.set()
            closing.set()
            await shutdown

    if settings.grpc_port:
        app.add_lifespan(serve)


def _create_server(settings: GrpcSettings, interceptors: Sequence[grpc.aio.ServerInterceptor]) -> grpc.aio.Server:
    return grpc.aio.server(
        interceptors=interceptors,
        options=[
            # gRPC's own refusal does not name the setting, so it comes later than ours; it bounds the memory of a call.
            ("grpc.max_receive_message_length", 2 * settings.max_body_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.http2.min_ping_interval_without_data_ms", 1_000),  # clients may send keepalive pings
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.so_reuseport", 0),  # a port that another process has is an error, not half of the calls
        ],
    )


def _bind(server: grpc.aio.Server, settings: GrpcSettings) -> None:
    host = settings.grpc_host.strip("[]")
    host = f"[{host}]" if ":" in host else host  # an IPv6 address
    address = f"{host}:{settings.grpc_port}"
    try:
        server.add_insecure_port(address)
    except RuntimeError:
        advice = "set GRPC_PORT to a free port, or GRPC_HOST to an address of this machine"
        raise SystemExit(f"cannot start: gRPC cannot listen on {address}: {advice}") from None


async def _shut_down(
    server: grpc.aio.Server,
    health: health_aio.HealthServicer,
    runner: RequestRunner,
    streams: InferStreams,
    draining: asyncio.Event,
    closing: asyncio.Event,
    settings: GrpcSettings,
) -> None:
    """From SIGTERM to the end of the server; the HTTP server drains and closes at the same times.

    GOAWAY comes first, or clients would send their next call on the same connection; then the calls in flight are
    finished, those too that a client sent before it read the GOAWAY.
    """
    await draining.wait()
    await health.enter_graceful_shutdown()
    with suppress(TimeoutError):
        await asyncio.wait_for(closing.wait(), settings.drain_seconds)
    streams.close()
    stopping = asyncio.create_task(server.stop(settings.max_request_timeout_ms / 1e3))
    await asyncio.wait({stopping}, timeout=GOAWAY_SECONDS)
    while runner.in_flight:  # noqa: ASYNC110  an event for it would cost each call a little
        await asyncio.sleep(0.01)
    await server.stop(None)
    await stopping
