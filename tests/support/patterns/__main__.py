"""Write what Compose hands on: `settings.env` of each pattern, and `docker-compose.env`."""

from tests.support.patterns.env_files import ports_file, settings_file
from tests.support.processes import PATTERNS, ROOT

for name in PATTERNS:
    (ROOT / name / "settings.env").write_text(settings_file(name))
(ROOT / "docker-compose.env").write_text(ports_file())
