"""The folder that the tests of the runner run."""

from pathlib import Path

import pytest

from tests.support.runner.demo import NAMES, SERVER


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    """A folder with a pattern of three servers."""
    (tmp_path / "demo").mkdir()
    (tmp_path / "server.py").write_text(SERVER)
    command = "exec python server.py --port ${{{}:-1}}"
    commands = {name: command.format("DEMO_PORT" if name == "demo" else f"DEMO_{name.upper()}_PORT") for name in NAMES}
    procfile = "".join(f"{name}: {command}\n" for name, command in commands.items())
    (tmp_path / "demo" / "Procfile").write_text(f"# try: curl 'http://127.0.0.1:${{DEMO_PORT:-1}}/'\n{procfile}")
    return tmp_path
