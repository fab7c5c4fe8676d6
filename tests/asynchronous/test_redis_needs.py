"""What is needed of Redis is asked for at start: a URL that leads somewhere, and a user with permissions (A1)."""

import re

import pytest

from asynchronous.settings import ProxySettings
from tests.support.processes import ROOT, wait_until
from tests.support.queue.jobs import done, hand_in
from tests.support.redis_servers import RedisServer
from tests.support.service_process import is_live, is_ready
from tests.support.stack import stack_of

SECRET = "sesame"
full = pytest.mark.full


@pytest.mark.parametrize(
    "url",
    [
        f"redis://:{SECRET}#1/2?@localhost:6379/0",
        f"redis://:{SECRET}/@localhost:6379/0",
        f"redis://:{SECRET}]b[@localhost:6379/0",
        f"redis://:{SECRET}@localhost:6379/abc",
        f"redis://:{SECRET}@localhost:6379?ssl=true",
        f"redis://:{SECRET}@localhost:port/0",
        f"http://:{SECRET}@localhost:6379/0",
    ],
)
def test_a_wrong_redis_url_is_one_line_without_its_password(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", url)
    with pytest.raises(SystemExit) as ended:
        ProxySettings.from_environment()
    message = str(ended.value)
    assert "REDIS_URL=***: Value error, expected redis://HOST:PORT/DATABASE" in message
    assert SECRET not in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "url", ["redis://localhost", "redis://user:p%23w@localhost:1/2", "rediss://localhost:1?db=3", "unix:///tmp/redis"]
)
def test_a_right_redis_url_is_taken(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", url)
    assert ProxySettings.from_environment().redis_url.get_secret_value() == url


def set_user(server: RedisServer, *more: str) -> str:
    """The user of the README's line, with these rules too. Returns the URL."""
    line = re.search(r"ACL SETUSER (.*)", (ROOT / "asynchronous" / "README.md").read_text())
    assert line
    rules = [*line[1].replace("PASSWORD", SECRET).split(), *more]
    server.client.execute_command("ACL", "SETUSER", *rules)  # type: ignore[no-untyped-call]
    return f"redis://asynchronous:{SECRET}@127.0.0.1:{server.port}/0"


@full
def test_jobs_are_done_by_the_user_of_the_readme(valkey: RedisServer) -> None:
    url = set_user(valkey)
    with stack_of("asynchronous") as stack:
        for name in ("predictor", "delivery", "asynchronous"):
            stack.launch(name, redis_url=url)
        wait_until(lambda: all(map(is_ready, stack.servers.values())))
        done(stack.front, *[hand_in(stack.front, ordering_key="a") for _ in range(3)])
        wait_until(lambda: stack.servers["delivery"].metric("results_stored_total") == 3)
        assert not any("NOPERM" in server.log.read_text() for server in stack.servers.values())


@full
@pytest.mark.parametrize("rule", ["-publish", "-hset", "-eval", "resetchannels"])
def test_a_service_is_not_ready_and_says_what_is_missing(valkey: RedisServer, rule: str) -> None:
    url = set_user(valkey, rule)
    with stack_of("asynchronous") as stack:
        proxy = stack.launch("asynchronous", redis_url=url)
        wait_until(lambda: "Redis cannot be used: " in proxy.log.read_text())
        wait_until(lambda: is_live(proxy))
        assert proxy.get("/health/ready").status_code == 503
        assert proxy.log.read_text().count("Redis cannot be used: ") == 1
