"""All six patterns at once, by one command."""

from uuid import uuid4

import pytest

from tests.support.patterns import FRONT_SERVICES
from tests.support.processes import ROOT, free_port, output_of

pytestmark = [pytest.mark.docker, pytest.mark.full, pytest.mark.timeout(600)]


def test_make_up_starts_all_six_patterns_and_each_reads_a_digit() -> None:
    ports = {pattern: free_port() for pattern in FRONT_SERVICES}
    environment = {f"{pattern.upper()}_PORT": str(port) for pattern, port in ports.items()}
    environment |= {"WEB_SINGLE_GRPC_PORT": str(free_port()), "COMPOSE_PROJECT_NAME": f"test-{uuid4().hex[:8]}"}
    try:
        output_of("make", "up", folder=ROOT, **environment)
        digits = {pattern: FRONT_SERVICES[pattern].read(port)["digit"] for pattern, port in ports.items()}
    finally:
        output_of("docker", "compose", "down", "--volumes", "--timeout=0", folder=ROOT, **environment)
    assert digits == dict.fromkeys(FRONT_SERVICES, 7)
