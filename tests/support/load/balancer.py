"""A small balancer that makes its own load, and sends it to servers that said, when last asked, that they are ready."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx

from tests.support.samples import PNG, SAMPLES
from tests.support.service_process import Server

ASK_EVERY_SECONDS = 0.1
PICTURES = [(SAMPLES / f"{name}.png").read_bytes() for name in ("two", "four", "seven")]
DIGITS = [2, 4, 7]
REFUSED = 0
"""In a history: nothing listened."""


@dataclass
class Balancer:
    """Which servers are ready, what each said of it over time, and what became of the requests."""

    servers: list[Server]
    clients: int = 8
    ready: set[int] = field(default_factory=set)
    history: dict[int, list[int]] = field(default_factory=dict)
    answered: Counter[int] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Asks and sends until the end; then waits for the answers that are still due."""
        self._stopped = asyncio.Event()
        async with httpx.AsyncClient(timeout=20) as http:
            jobs = [self._ask(http, server) for server in self.servers] + [
                self._send(http) for _ in range(self.clients)
            ]
            tasks = [asyncio.create_task(job) for job in jobs]
            try:
                yield
            finally:
                self._stopped.set()
                await asyncio.gather(*tasks)

    async def _ask(self, http: httpx.AsyncClient, server: Server) -> None:
        history = self.history.setdefault(server.port, [])
        while not self._stopped.is_set():
            try:
                history.append((await http.get(f"{server.url}/health/ready", timeout=2)).status_code)
            except httpx.TransportError:
                history.append(REFUSED)
            (self.ready.add if history[-1] == 200 else self.ready.discard)(server.port)
            await asyncio.sleep(ASK_EVERY_SECONDS)

    async def _send(self, http: httpx.AsyncClient) -> None:
        while not self._stopped.is_set():
            await asyncio.sleep(0.02)
            if not self.ready:
                continue
            port, number = random.choice(sorted(self.ready)), random.randrange(len(DIGITS))
            try:
                response = await http.post(f"http://127.0.0.1:{port}/predict", content=PICTURES[number], headers=PNG)
                if response.status_code != 200 or response.json()["digit"] != DIGITS[number]:
                    self.failed.append(f"{port}: {response.status_code} {response.text}")
            except httpx.TransportError as error:
                self.failed.append(f"{port}: {error!r}")
            self.answered[port] += 1
