"""The proxy's app is started and ended again and again in one process, as tests of a copy do, and never hangs."""

from fastapi.testclient import TestClient
from pydantic import SecretStr

from microservice_horizontal.proxy import create_app
from microservice_horizontal.settings import ProxySettings
from tests.support.redis_servers import RedisServer


def test_the_proxy_ends_at_once_also_while_it_connects_to_redis(valkey: RedisServer) -> None:
    """redis-py loses a cancellation that comes while it connects."""
    app = create_app(ProxySettings(redis_url=SecretStr(valkey.url)))
    for _ in range(10):
        with TestClient(app):
            pass
    with TestClient(app) as client:
        assert client.get("/health/live").status_code == 200
