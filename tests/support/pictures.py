"""Writes the README's pictures, docs/playground-light.png and -dark.png: `python -m tests.support.pictures`."""

from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, FloatRect, expect

from tests.support.browsers import chromium
from tests.support.patterns import commands
from tests.support.processes import ROOT, wait_until
from tests.support.service_process import is_ready
from tests.support.stack import stack_of
from tests.support.vertical.letters import doubtful

FOLDER = ROOT / "docs"
PATTERN = "microservice_vertical"
SIZE = (1100, 900)


def to_png(scan: NDArray[np.float32]) -> bytes:
    """A scan as a picture that is large enough to look at: black ink on white paper, with a margin."""
    picture = Image.fromarray((255 - scan.reshape(8, 8) * 255 / 16).astype(np.uint8)).resize(
        (240, 240), Image.Resampling.BICUBIC
    )
    paper = Image.new("L", (360, 360), 255)
    paper.paste(picture, (60, 60))
    file = BytesIO()
    paper.save(file, "PNG")
    return file.getvalue()


def take_pictures(browser: Browser, url: str, folder: Path) -> None:
    """The playground after a picture about which the reader was in doubt, in light and dark."""
    scans = [to_png(scan) for scan in doubtful().features[:60, 0]]
    for scheme in ("light", "dark"):
        page = browser.new_page(viewport={"width": SIZE[0], "height": SIZE[1]}, color_scheme=scheme)
        page.goto(url)
        page.click("summary")
        for scan in scans:
            with page.expect_response("**/predict") as answer:
                page.set_input_files("#pick-file", {"name": "scan.png", "mimeType": "image/png", "buffer": scan})
            if len(answer.value.json()["stages"]) == 3:
                break
        expect(page.locator("#journey-diagram #specialist.lit")).to_have_count(1)
        page.click("summary")
        diagram = page.locator("#journey-diagram").bounding_box()
        assert diagram
        shown: FloatRect = {"x": 0, "y": 0, "width": SIZE[0], "height": diagram["y"] + diagram["height"]}
        page.screenshot(path=folder / f"playground-{scheme}.png", full_page=True, animations="disabled", clip=shown)
        page.close()


def write_pictures(browser: Browser, folder: Path) -> None:
    """Start the pattern, ask it, write the pictures."""
    with stack_of(PATTERN) as stack:
        stack.start("redis")
        for name in commands(PATTERN):
            if name not in ("redis", PATTERN):
                stack.launch(name)
        stack.start(PATTERN)
        wait_until(lambda: all(is_ready(server) for name, server in stack.servers.items() if name != "redis"))
        take_pictures(browser, stack.front.url, folder)


if __name__ == "__main__":
    with chromium() as browser:
        write_pictures(browser, FOLDER)
