"""Asks every pattern's hot path under Sentry, and prints what Sentry saw: `python -m tests.support.tracing.sentry`"""

import json
from typing import Any
from urllib.parse import urlsplit

import sentry_sdk
from fastapi.testclient import TestClient

from tests.support.patterns.hot_paths import HOT_PATHS


def main() -> None:
    """The paths of its transactions and of its errors, as one line of JSON."""
    seen: dict[str, list[str]] = {"transactions": [], "errors": []}

    def note(kind: str) -> Any:
        return lambda event, _: seen[kind].append(urlsplit(event.get("request", {}).get("url", "")).path)

    sentry_sdk.init(
        "http://key@127.0.0.1:1/1",
        traces_sample_rate=1.0,
        shutdown_timeout=0,
        before_send=note("errors"),
        before_send_transaction=note("transactions"),
    )
    for create_app, path, body in HOT_PATHS.values():
        app = create_app()
        app.get("/fails")(fail)
        with TestClient(app, raise_server_exceptions=False) as client:
            client.post(path, json=body)
            client.get("/fails")
    print(json.dumps(seen))


def fail() -> None:
    """What an endpoint of one's own may do."""
    raise LookupError


if __name__ == "__main__":
    main()
