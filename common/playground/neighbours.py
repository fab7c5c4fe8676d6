"""The patterns beside this one, for the links at the top of its page, and whether each runs on this machine.

A pattern is a folder with a `Procfile`. An image holds one alone: there Compose says what is published, and where.
"""

import asyncio
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from html import escape
from pathlib import Path

from starlette.datastructures import URL

CONNECT_SECONDS = 0.5
PUBLISHED = "PATTERN_PORTS"
"""The variable of a container: `web_single=8001,synchronous=8002`, ports of the host."""


def local_neighbours(folder: Path) -> dict[str, int]:
    """The port of each pattern's front service, this one's too, in the order of their default ports.

    It is set by `PATTERN_PORT`, as in the Procfile. Empty where this pattern is alone.
    """
    defaults: dict[str, int] = {}
    for procfile in folder.parent.glob("*/Procfile"):
        name = procfile.parent.name
        if found := re.search(rf"--port \$\{{{name.upper()}_PORT:-(\d+)\}}", procfile.read_text()):
            defaults[name] = int(found[1])
    names = sorted(defaults, key=defaults.__getitem__) if len(defaults) > 1 else []
    chosen = {name: os.environ.get(f"{name.upper()}_PORT", "") for name in names}
    return {name: int(port) if port.isdecimal() else defaults[name] for name, port in chosen.items()}


def published_neighbours() -> dict[str, int]:
    """The same of a container, as Compose gives it. Empty where it does not."""
    found = re.findall(r"(\w+)=(\d+)(?:,|$)", os.environ.get(PUBLISHED, ""))
    return {name: int(port) for name, port in found}


def neighbour_origins(page: URL, ports: Iterable[int]) -> list[str]:
    """The origins of these ports on the host of a page's URL, which its browser sent, as sources of a policy."""
    host = page.hostname or ""
    return [f"{page.scheme}://{host}:{port}" for port in ports] if re.fullmatch(r"[A-Za-z0-9.-]+", host) else []


def tabs_of(neighbours: Iterable[str], current: str) -> str:
    """Their names as HTML, before it is known which of them run."""
    here = ' aria-current="page"'
    return "".join(f"<span{here if name == current else ''}>{escape(name)}</span>" for name in neighbours)


async def is_running(port: int) -> bool:
    """Whether something listens on this port of this machine."""
    with suppress(OSError, OverflowError):  # a `TimeoutError` is an `OSError`; a number may be too large for a port
        async with asyncio.timeout(CONNECT_SECONDS):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return True
    return False
