"""A pattern of several services for a test: each process of its Procfile, started, replaced and ended by name."""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from redis import Redis, RedisError

from tests.support.forked.services import running_service
from tests.support.http.fault_proxy import Link
from tests.support.patterns.procfiles import app_in, commands
from tests.support.patterns.start import free_ports
from tests.support.processes import listens, wait_until
from tests.support.service_process import Server, client_of, is_ready

LONG_TIMEOUT = 30.0
MEMBERS = ("linear", "svm", "mlp")
"""The models that vote."""


class Stack:
    """The processes of one pattern, on ports of their own; which of them run is up to the test."""

    def __init__(self, pattern: str, folder: Path, exit_stack: ExitStack) -> None:
        self.front_name = pattern
        self.servers: dict[str, Server] = {}
        self._commands = commands(pattern)
        self._ports = {name: str(port) for name, port in free_ports(pattern).items()}
        self._folder = folder
        self._exit_stack = exit_stack

    @property
    def front(self) -> Server:
        """The pattern's front service."""
        return self.servers[self.front_name]

    def port(self, name: str, kind: str = "") -> int:
        """The port of a process; `kind` is "grpc" for its other one."""
        parts = [self.front_name, *([name] if name != self.front_name else []), *([kind] if kind else []), "port"]
        return int(self._ports["_".join(parts).upper()])

    def launch(self, name: str, *, app: object = "", **settings: object) -> Server:
        """Start a process with these settings (a setting of one process may differ from that of another).

        `app` takes the place of the Procfile's.
        """
        environment = {setting.upper(): str(value) for setting, value in ({"drain_seconds": 0} | settings).items()}
        environment = {"GRPC_PORT": self._ports.get(f"{self.front_name}_{name}_grpc_port".upper(), "0")} | environment
        environment |= {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", **self._ports} | environment
        log = self._folder / f"{name}-{len(list(self._folder.iterdir()))}.log"
        log.touch()  # a test may look before the shell has begun
        command = self._commands[name].replace(".state/", f"{self._folder}/state/")
        command = command.replace(app_in(command), str(app)) if app else command
        process = self._exit_stack.enter_context(running_service(command, log, **environment))
        port = int(settings.get(f"{self.front_name}_{name}_port", 0) or self.port(name))  # type: ignore[call-overload]
        client = self._exit_stack.enter_context(client_of(port, LONG_TIMEOUT))
        server = Server(port, process, log, client)
        self._exit_stack.callback(lambda: print(log.read_text()[-5_000:], end="", file=sys.stderr))
        self.servers[name] = server
        return server

    def start(self, name: str, *, app: object = "", **settings: object) -> Server:
        """The same, and wait until it is ready."""
        server = self.launch(name, app=app, **settings)
        answers = self._store_answers if name == "redis" else lambda: is_ready(server)
        wait_until(lambda: server.process.poll() is not None or answers())
        assert server.process.poll() is None, server.log.read_text()
        return server

    def launch_store(self) -> None:
        """Start the pattern's Valkey, and wait until it listens; a service that is quicker logs an error."""
        self.launch("redis")
        wait_until(lambda: listens(self.port("redis")))

    def stop(self, name: str) -> None:
        """End a process as an update does: SIGTERM, and wait."""
        self.servers[name].process.terminate()
        self.servers[name].process.wait(30)

    def store(self) -> "Redis":
        """A client of the pattern's own Valkey, closed at the end: one that is left open can fail the whole run."""
        client = Redis(port=self.port("redis"))
        self._exit_stack.callback(client.close)
        return client

    def _store_answers(self) -> bool:
        try:
            with Redis(port=self.port("redis")) as client:
                return bool(client.ping())
        except RedisError:
            return False


@contextmanager
def stack_of(pattern: str) -> Iterator[Stack]:
    """A pattern of which nothing runs yet; what is started is ended."""
    with TemporaryDirectory() as folder, ExitStack() as exit_stack:
        yield Stack(pattern, Path(folder), exit_stack)


@contextmanager
def synchronous_stack(
    url: str = "http", *, predictor: dict[str, object] | None = None, **proxy: object
) -> Iterator[Stack]:
    """The proxy and its predictor, asked over `http` or `grpc`, once both are ready; settings of either."""
    with stack_of("synchronous") as stack:
        stack.start("predictor", **(predictor or {}))
        proxy.setdefault("predictor_url", predictor_url(stack, url))
        stack.start("synchronous", **proxy)
        yield stack


def predictor_url(stack: Stack, scheme: str, port: int | None = None) -> str:
    """Where the predictor is asked over `http` or `grpc`; another `port` is that of something in between."""
    port = port or stack.port("predictor", "grpc" if scheme == "grpc" else "")
    return f"{scheme}://127.0.0.1:{port}/v2/models/mlp"


@contextmanager
def vertical_stack(services: dict[str, dict[str, object]] | None = None, **proxy: object) -> Iterator[Stack]:
    """The whole vertical pattern, once it is ready; settings of each service by its name, and of the proxy."""
    with stack_of("microservice_vertical") as stack:
        stack.launch_store()
        for name in ("quality", "reader", "specialist"):
            stack.launch(name, **(services or {}).get(name, {}))
        stack.start("microservice_vertical", **proxy)
        yield stack


@contextmanager
def asynchronous_stack(services: dict[str, dict[str, object]] | None = None, **proxy: object) -> Iterator[Stack]:
    """The asynchronous pattern's proxy, once it is ready, its Redis, and the services named, with settings of each."""
    with stack_of("asynchronous") as stack:
        stack.launch_store()
        services = {"predictor": {}} if services is None else services
        others = [stack.launch(name, **settings) for name, settings in services.items()]
        stack.start("asynchronous", **proxy)
        wait_until(lambda: all(map(is_ready, others)))
        yield stack
        for server in stack.servers.values():
            server.process.terminate()


@contextmanager
def horizontal_stack(
    services: dict[str, dict[str, object]] | None = None, links: dict[str, Link] | None = None, **proxy: object
) -> Iterator[Stack]:
    """The whole horizontal pattern, once it is ready; settings of each service by its name, and of the proxy.

    `links` gets a link to each member, over which the proxy asks it.
    """
    with stack_of("microservice_horizontal") as stack, ExitStack() as exit_stack:
        stack.launch_store()
        for name in (*MEMBERS, "postprocessor"):
            stack.launch(name, **(services or {}).get(name, {}))
        if links is not None:
            links |= {name: exit_stack.enter_context(Link(stack.port(name)).running()) for name in MEMBERS}
            proxy = {"members": member_urls({name: link.port for name, link in links.items()})} | proxy
        stack.start("microservice_horizontal", **proxy)
        wait_until(lambda: is_ready(stack.servers["postprocessor"]))
        yield stack
        for server in stack.servers.values():  # all at once: each member needs half a second
            server.process.terminate()


def member_urls(ports: dict[str, int]) -> str:
    """Where the horizontal pattern's proxy finds these members."""
    return ",".join(f"http://127.0.0.1:{port}/v2/models/{name}" for name, port in ports.items())
