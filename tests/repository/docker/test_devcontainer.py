"""The development container: what its image lacks for the README's first commands, its `postCreateCommand` installs."""

import json
import subprocess

import pytest

from tests.support.processes import ROOT

TOOLS = """
curl --version
git --version
cd $(mktemp -d)
tar -x
make --dry-run web_single
"""
CLONE = "git ls-files -z --cached --others --exclude-standard | tar -c --null --ignore-failed-read -T -"


@pytest.mark.full
@pytest.mark.docker
@pytest.mark.timeout(300)
def test_the_development_container_has_what_the_first_commands_of_the_readme_need() -> None:
    """What `make` installs then, the image of web_single installs, too, on the same base."""
    settings = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())
    script = f"{{ {settings['postCreateCommand']}; }} >&2{TOOLS}"
    start = ["docker", "run", "--rm", "--interactive", settings["image"], "bash", "-ec", script]
    with subprocess.Popen(["bash", "-c", CLONE], cwd=ROOT, stdout=subprocess.PIPE) as clone:
        output = subprocess.run(start, stdin=clone.stdout, check=True, capture_output=True, text=True).stdout
    assert "python -m common.run web_single/Procfile" in output
