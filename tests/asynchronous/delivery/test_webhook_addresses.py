"""Where a webhook may go: nowhere inside the network, unless that is allowed, and nowhere without a secret (A2).

Three proxies on one Redis: one takes all addresses, one only public ones, one has no secret.
"""

import asyncio
import base64
import socket
from collections.abc import Iterator
from time import monotonic
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx
import pytest
from pydantic import SecretStr

from asynchronous.delivery.address_check import is_public
from asynchronous.delivery.webhook_sender import WebhookMessage, WebhookSender
from tests.support.processes import free_port, wait_until
from tests.support.queue.jobs import another_proxy, submit
from tests.support.queue.webhook_receiver import SECRET, SIGNING, Receiver
from tests.support.service_process import Server, is_ready
from tests.support.stack import Stack, stack_of

SHORT = "whsec_" + base64.b64encode(b"short").decode()

INSIDE = [
    "http://127.0.0.1:8000/hook",
    "http://localhost/hook",
    "http://10.0.0.1/hook",
    "http://172.16.0.1/hook",
    "http://192.168.1.1/hook",
    "http://169.254.169.254/latest/meta-data",
    "http://100.64.0.1/hook",
    "http://0.0.0.0/hook",
    "http://224.0.0.1/hook",
    "http://2130706433/hook",
    "http://0x7f.1/hook",
    "http://[::1]/hook",
    "http://[::]/hook",
    "http://[::ffff:127.0.0.1]/hook",
    "http://[::ffff:a00:1]/hook",
    "http://[64:ff9b::7f00:1]/hook",
    "http://[2002:7f00:1::]/hook",
    "http://[fd00::1]/hook",
    "http://[fe80::1]/hook",
]


class DeliveryDeployment(NamedTuple):
    """The proxies."""

    stack: Stack
    front: Server
    public: Server
    unsigned: Server


@pytest.fixture(scope="module")
def deployment() -> Iterator[DeliveryDeployment]:
    with stack_of("asynchronous") as stack:
        stack.start("redis")
        proxies = [another_proxy(stack, **settings) for settings in (SIGNING, {"webhook_secret": SECRET}, {})]
        wait_until(lambda: all(map(is_ready, proxies)))
        yield DeliveryDeployment(stack, *proxies)
        for proxy in proxies:
            proxy.process.terminate()


@pytest.mark.parametrize("url", INSIDE)
def test_an_address_inside_the_network_is_a_422(deployment: DeliveryDeployment, url: str) -> None:
    answer = submit(deployment.public, callback_url=url)
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert "callback_url" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700:4700::1111", True),
        ("64:ff9b::808:808", True),
        ("64:ff9b:1::808:808", False),
        ("fec0::1", False),
        ("::127.0.0.1", False),
        ("fe80::1%eth0", False),
        ("ff0e::1", False),
    ],
)
def test_only_addresses_on_the_internet_are_public(address: str, public: bool) -> None:
    assert is_public(address) == public


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/",
        "file:///etc/passwd",
        "example.com",
        "http://",
        "http://user:word@8.8.8.8/hook",
        "http://example.com:99999/",
        "http://8.8.8.8/" + "a" * 2_000,
    ],
)
def test_an_invalid_callback_url_is_a_422(deployment: DeliveryDeployment, url: str) -> None:
    for front in (deployment.front, deployment.public):
        assert submit(front, callback_url=url).status_code == 422


@pytest.mark.parametrize("host", ["a" * 64 + ".com", "a..b", "xn--a.com", "-.com", "%00.com", "a b.com", "\u2024"])
def test_no_host_name_makes_the_proxy_fail(deployment: DeliveryDeployment, host: str) -> None:
    assert submit(deployment.public, callback_url=f"http://{host}/").status_code in (202, 422)


def test_a_callback_url_is_rejected_without_a_secret(deployment: DeliveryDeployment) -> None:
    answer = submit(deployment.unsigned, callback_url="http://8.8.8.8/hook")
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert "WEBHOOK_SECRET" in answer.json()["detail"]


@pytest.mark.full
def test_a_bad_secret_ends_the_process_with_a_line_that_does_not_show_it(deployment: DeliveryDeployment) -> None:
    servers = [
        deployment.stack.launch(name, asynchronous_port=free_port(), webhook_secret=secret)
        for name, secret in (("asynchronous", "hunter2-hunter2"), ("delivery", "whsec_hunter2"), ("delivery", SHORT))
    ]
    for server in servers:
        assert server.process.wait(20) != 0
        log = server.log.read_text()
        assert "WEBHOOK_SECRET" in log
        assert "whsec_ and" in log  # what is expected
        assert "Traceback" not in log
        assert "hunter2" not in log
        assert SHORT not in log


def test_each_address_of_a_host_is_tried_until_one_takes_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    async def look_up(host: str, port: int, **_: object) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        return [(socket.AF_INET, 0, 0, "", (address, port)) for address in ("127.0.0.2", "127.0.0.1")]

    async def send(url: str) -> str | None:
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", look_up)
        message = WebhookMessage("1", 1.0, b"{}", "")
        async with httpx.AsyncClient() as client:
            return await WebhookSender(SecretStr(SECRET), allow_private=True).post(client, url, message)

    with Receiver().listening() as receiver:
        port = urlsplit(receiver.url).port
        assert asyncio.run(send(f"http://two.example:{port}/hook")) is None
        assert receiver.next().headers["host"] == f"two.example:{port}"
    refused = asyncio.run(send(f"http://two.example:{port}/hook"))
    assert refused
    assert refused.startswith("ConnectError")


def test_an_international_host_name_is_resolved_as_the_request_spells_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """By other rules than a browser's it would be fass.de, which is another host."""
    asked = []

    async def look_up(host: str, *_: object, **__: object) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        asked.append(host)
        return [(0, 0, 0, "", ("93.184.215.14", 443))]

    async def check() -> None:
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", look_up)
        await WebhookSender(SecretStr(SECRET), allow_private=False).check("http://faß.de/hook", monotonic() + 5)

    asyncio.run(check())
    assert asked == ["xn--fa-hia.de"]
