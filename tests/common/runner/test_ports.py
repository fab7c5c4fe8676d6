"""`python -m common.run`: a port that is taken or wrong is one line, before anything starts."""

from pathlib import Path

import pytest

from common.runner.procfile import Procfile
from tests.support.patterns.procfiles import variables_of_all
from tests.support.processes import PATTERNS, ROOT, free_port
from tests.support.runner.demo import run, run_to_its_end


def test_a_taken_port_is_one_line_with_the_setting_that_changes_it(demo: Path) -> None:
    with run(demo) as first:
        first.wait_for("ready: ")
        taken = first.ports["DEMO_WORKER_PORT"]
        second = run_to_its_end(demo, DEMO_PORT=free_port(), DEMO_REDIS_PORT=free_port(), DEMO_WORKER_PORT=taken)
        assert second.returncode == 1
        assert second.stdout + second.stderr == f"{taken} is taken (is worker running already?): set DEMO_WORKER_PORT\n"
        assert first.process.poll() is None


def test_of_several_taken_ports_the_front_service_is_named(demo: Path) -> None:
    procfile = demo / "demo" / "Procfile"
    procfile.write_text("\n".join(reversed(procfile.read_text().splitlines())) + "\n")
    with run(demo) as first:
        first.wait_for("ready: ")
        second = run_to_its_end(demo, **first.ports)
        taken = first.ports["DEMO_PORT"]
        assert second.stderr == f"{taken} is taken (is demo running already?): set DEMO_PORT\n"


@pytest.mark.parametrize(
    ("setting", "value"), [("DEMO_PORT", "0"), ("DEMO_PORT", "70000"), ("DEMO_WORKER_PORT", "tcp://10.0.0.1:80")]
)
def test_a_setting_that_is_no_port_is_one_line_with_its_name(demo: Path, setting: str, value: str) -> None:
    wrong = run_to_its_end(demo, **{setting: value})
    assert wrong.stderr == f"{setting}: expected a port such as 8001, got {value!r}\n"
    assert wrong.returncode == 1


@pytest.mark.parametrize("path", sorted(ROOT.glob("*/Procfile*")), ids=lambda path: str(path.relative_to(ROOT)))
def test_the_ports_of_every_procfile_are_found(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GRPC_PORT", raising=False)
    procfile = Procfile(path)
    assert 8001 <= procfile.front.number <= 8006
    assert {port.process for port in procfile.ports} == {*procfile.commands}


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_mistyped_setting_of_a_procfile_is_warned_of_and_no_right_one(
    pattern: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    procfile = Procfile(ROOT / pattern / "Procfile")
    for name in {name for other in PATTERNS for name, _ in variables_of_all(other)}:
        monkeypatch.setenv(name, "1")
    for setting in procfile.ports:
        monkeypatch.setenv(setting.setting, "8001")
    assert list(procfile.find_mistyped()) == []
    mistyped = f"{pattern.upper()}_PROT"
    monkeypatch.setenv(mistyped, "8001")
    assert list(procfile.find_mistyped()) == [
        f"{mistyped} is no setting, and is ignored: is {pattern.upper()}_PORT meant?"
    ]


def test_with_a_redis_of_your_own_none_is_started_and_its_port_may_be_taken(demo: Path) -> None:
    with run(demo) as first:
        first.wait_for("ready: ")
        (other := demo / "other").mkdir()
        for name in ("demo", "server.py"):
            (other / name).symlink_to(demo / name)
        taken = first.ports["DEMO_REDIS_PORT"]
        with run(other, REDIS_URL="redis://127.0.0.1/0", DEMO_REDIS_PORT=taken) as second:
            second.wait_for("ready: ")
            assert not second.pid("redis")
