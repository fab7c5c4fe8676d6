"""All services of a pattern on a Redis behind one address, over a link, and a second server to fail over to.

A failover leads new connections to the other server; open ones stay with the old.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from tests.support.http.fault_proxy import Link
from tests.support.processes import wait_until
from tests.support.redis_servers import RedisServer, redis_server
from tests.support.service_process import is_ready
from tests.support.stack import Stack, stack_of

RECOVERY_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Pair:
    """The services, the address of their Redis, and two servers; the address leads to the first."""

    stack: Stack
    link: Link
    first: RedisServer
    second: RedisServer

    def replicate(self) -> None:
        """The second becomes a replica of the first, and has all that it has."""
        self.second.client.replicaof("127.0.0.1", self.first.port)
        wait_until(self._replicates)

    def _replicates(self) -> bool:
        facts: Any = self.second.client.info("replication")
        return bool(facts["master_link_status"] == "up")

    def fail_over(self) -> None:
        """The second becomes the primary, and the first its replica, which lives on."""
        self.second.client.replicaof("NO", "ONE")
        self.first.client.replicaof("127.0.0.1", self.second.port)
        self.link.to = self.second.port

    def all_ready(self) -> bool:
        return all(map(is_ready, self.stack.servers.values()))


@contextmanager
def pair_of(kind: str, pattern: str, services: tuple[str, ...], **settings: object) -> Iterator[Pair]:
    """Once all these services are ready; settings of each."""
    with ExitStack() as exit_stack:
        first, second = (exit_stack.enter_context(redis_server(kind)) for _ in range(2))
        link = exit_stack.enter_context(Link(first.port).running())
        stack = exit_stack.enter_context(stack_of(pattern))
        for name in services:
            stack.launch(name, redis_url=f"redis://127.0.0.1:{link.port}/0", **settings)
        pair = Pair(stack, link, first, second)
        wait_until(pair.all_ready)
        yield pair
