"""Why a balancer for gRPC works at layer 7, or in the client: what each does with the calls of one channel (W3)."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import cycle
from socketserver import BaseRequestHandler, ThreadingTCPServer
from threading import Thread

import pytest

from tests.support.load.grpc_and_rest import Call, grpc_calls, rest_calls
from tests.support.replicas import Replicas, started_replicas

pytestmark = [pytest.mark.envoy, pytest.mark.full]

CALLS = 90


@pytest.fixture(scope="module")
def three() -> Iterator[Replicas]:
    with started_replicas(drain_seconds=0) as replicas:
        yield replicas


def shares(three: Replicas, call: Call) -> list[int]:
    """How many of the calls each replica got, in ascending order."""
    before = three.rows()
    for _ in range(CALLS):
        call()
    return sorted(after - earlier for after, earlier in zip(three.rows(), before, strict=True))


def test_a_tcp_balancer_sends_all_grpc_calls_of_a_channel_to_one_replica(three: Replicas) -> None:
    """It balances connections, and a channel is one connection, for as long as it lives."""
    with tcp_balancer(three.grpc_targets()) as port, grpc_calls(f"127.0.0.1:{port}") as call:
        assert shares(three, call) == [0, 0, CALLS]


def test_layer_7_spreads_the_grpc_calls_of_a_channel(three: Replicas) -> None:
    with grpc_calls(f"127.0.0.1:{three.grpc_port}") as call:
        assert min(shares(three, call)) > CALLS / 4


def test_layer_7_spreads_the_requests_of_a_connection(three: Replicas) -> None:
    with rest_calls(three.port) as call:
        assert min(shares(three, call)) > CALLS / 4


def test_a_client_that_knows_all_replicas_spreads_its_calls_itself(three: Replicas) -> None:
    """`round_robin` in the client needs no balancer; with DNS, a name with an address for each replica."""
    with grpc_calls(f"ipv4:{','.join(three.grpc_targets())}", policy="round_robin") as call:
        assert min(shares(three, call)) > CALLS / 4


def test_a_client_that_knows_all_replicas_and_has_no_policy_asks_only_the_first(three: Replicas) -> None:
    """gRPC's default is `pick_first`."""
    with grpc_calls(f"ipv4:{','.join(three.grpc_targets())}") as call:
        assert shares(three, call) == [0, 0, CALLS]


@contextmanager
def tcp_balancer(targets: list[str]) -> Iterator[int]:
    """The port of a balancer at layer 4: each new connection goes to the next target, whatever is said on it."""
    turn = cycle(targets)

    class Connection(BaseRequestHandler):
        def handle(self) -> None:
            host, _, port = next(turn).rpartition(":")
            with socket.create_connection((host, int(port))) as replica:
                back = Thread(target=pump, args=(replica, self.request))
                back.start()
                pump(self.request, replica)
                back.join()

    with ThreadingTCPServer(("127.0.0.1", 0), Connection) as server:
        thread = Thread(target=server.serve_forever, args=[0.02])
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def pump(source: socket.socket, target: socket.socket) -> None:
    """What comes from one side goes to the other, until there is no more."""
    with suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
