"""What a service leaves to the proxy in front of it: TLS and a limit for each client, by the README's lines."""

import re
import ssl
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import trustme

from tests.support.http.nginx import nginx_with
from tests.support.processes import ROOT, free_port
from tests.support.service_process import Server

pytestmark = pytest.mark.nginx


def test_nginx_as_the_readme_shows_it_adds_tls_and_a_limit_for_each_client(server: Server, tmp_path: Path) -> None:
    authority, port = trustme.CA(), free_port()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    certificate.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    trusted = ssl.create_default_context()
    authority.configure_trust(trusted)

    found = re.search(r"^```nginx\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert found
    lines = found[1].replace("8443", f"127.0.0.1:{port}").replace(":8001", f":{server.port}")
    with (
        nginx_with(tmp_path, lines, port),
        httpx.Client(base_url=f"https://127.0.0.1:{port}", verify=trusted) as client,
        ThreadPoolExecutor(10) as threads,
    ):
        assert client.get("/health/ready").status_code == 200
        statuses = list(threads.map(lambda _: client.get("/health/live").status_code, range(100)))
    assert set(statuses) == {200, 429}
    assert statuses.count(200) >= 20
