"""What tests of `orchestrate serve` do in a headless browser: serve, press keys, listen, look for faults."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from PIL import Image

REPOSITORY = Path(__file__).parents[2]
WIDE, PHONE = {"width": 1180, "height": 860}, {"width": 390, "height": 844}
RUN_MS = 300_000
"""For what a study has to come to; far above what it takes on a busy machine."""
TAGS = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice", "experimental")
"""Rules of axe-core; whatever grade a fault is of."""
FITS = "() => document.documentElement.scrollWidth <= window.innerWidth"


@contextmanager
def serving(root: Path) -> Iterator[str]:
    """The address, with its token, of the page over a directory."""
    server = subprocess.Popen(
        [sys.executable, "-m", "orchestrator", "serve", str(root), "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    try:
        assert server.stdout is not None
        yield server.stdout.readline().strip()
    finally:
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=RUN_MS / 1000)


def reach(page: Any, place: str, key: str = "Tab") -> None:
    """Go to a place with the tabulator alone, or back with `Shift+Tab`; `place` is a selector."""
    for _ in range(300):
        page.keyboard.press(key)
        if page.evaluate("place => document.activeElement.matches(place)", place):
            return
    raise AssertionError(f"the keyboard does not reach {place}")


def press(page: Any, place: str, key: str = "Enter") -> None:
    """Go to a place with the tabulator, and press a key there."""
    reach(page, place)
    page.keyboard.press(key)


def write(page: Any, place: str, text: str) -> None:
    """Go to a field with the tabulator, and write something else there."""
    press(page, place, "Control+A")
    page.keyboard.type(text)


@contextmanager
def watched(page: Any, host: str, grades: tuple[str, ...] = ("error", "warning")) -> Iterator[list[str]]:
    """What a browser complains of in these grades, does not get, or asks of another machine."""
    faults: list[str] = []

    def console(said: Any) -> None:
        if said.type in grades:
            faults.append(f"console: {said.text}")

    def request(asked: Any) -> None:
        place = urlsplit(asked.url)
        if place.scheme not in ("data", "blob") and place.netloc != host:
            faults.append(f"asked elsewhere: {asked.url}")

    def response(answer: Any) -> None:
        if answer.status >= 400:
            faults.append(f"{answer.status}: {answer.url}")

    def failed(asked: Any) -> None:
        if asked.failure != "net::ERR_ABORTED":  # by the page that comes next
            faults.append(f"failed: {asked.url}: {asked.failure}")

    heard = {
        "console": console,
        "request": request,
        "response": response,
        "pageerror": lambda error: faults.append(f"script: {error}"),
        "requestfailed": failed,
    }
    for event, hear in heard.items():
        page.on(event, hear)
    yield faults
    for event, hear in heard.items():
        page.remove_listener(event, hear)


def axe_faults(page: Any) -> list[str]:
    """What axe-core finds on a page: grade, rule, place, why."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page, options={"runOnly": {"type": "tag", "values": TAGS}}).response
    return [
        f"{page.url}: {rule['impact']}: {rule['id']}: {node['target']}: {node.get('failureSummary', '')}"
        for rule in found["violations"]
        for node in rule["nodes"]
    ]


def wear(page: Any, scheme: str, size: dict[str, int]) -> None:
    """Show the page light or dark, and in another size, without loading it again."""
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size(size)


def sound(page: Any) -> None:
    """Hold that axe-core finds no fault of a page, desktop and phone, light and dark, and that it fits both.

    It is not loaded again, and ends as it was: a figure has to follow.
    """
    before = page.viewport_size
    dark = page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    found = []
    for scheme in ("light", "dark"):
        for size in (WIDE, PHONE):
            wear(page, scheme, size)
            page.wait_for_function(FITS)
            found += [f"{scheme}, {size['width']} wide: {fault}" for fault in axe_faults(page)]
    wear(page, "dark" if dark else "light", before)
    page.wait_for_function(FITS)
    assert not found, "\n".join(found)


def small(picture: bytes) -> bytes:
    """PNG with few colours, of which those of small marks are some."""
    out = io.BytesIO()
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    image.quantize(256, method=Image.Quantize.MAXCOVERAGE).save(out, "PNG", optimize=True)
    return out.getvalue()
