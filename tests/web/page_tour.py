"""`orchestrate serve` in a headless browser: a study is chosen, started, watched, and its report opened.

As a program it writes the pictures of docs/serve.md, from a real study of the directory it is started in:

    python tests/web/page_tour.py configs/tabular.yaml docs/images
"""

from __future__ import annotations

import io
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from tensorboard_tabs import WAIT_MS, browser

REPOSITORY = Path(__file__).parents[2]
WIDE, PHONE = {"width": 1180, "height": 860}, {"width": 390, "height": 844}
RUN_MS = 180_000
"""For what a study has to come to; far above what it takes on a busy machine."""


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
        server.communicate(timeout=60)


def choose(page: Any, config: str, settings: dict[str, str], without: tuple[str, ...] = ()) -> None:
    """Open the form of a study file, change settings, untick components."""
    page.get_by_role("link", name="New study", exact=True).click()
    files = page.locator("select[name=config]")
    if files.input_value() != config:
        files.select_option(config)
        page.wait_for_url(lambda url: "config=" in url)
    for name, value in settings.items():
        field = page.locator(f'[name="{name}"]')
        (field.select_option if field.evaluate("e => e.tagName") == "SELECT" else field.fill)(value)
    for component in without:
        page.locator(f'input[name=component][value="{component}"]').uncheck()


def validate(page: Any) -> str:
    """What the page says when Validate is clicked."""
    page.get_by_role("button", name="Validate").click()
    answer = page.locator("#answer")
    answer.wait_for(timeout=WAIT_MS)
    return str(answer.inner_text())


def start(page: Any) -> None:
    """Click Start, and follow to the page of the study once it is recorded."""
    page.get_by_role("button", name="Start").click()
    page.wait_for_url("**/launches/*", timeout=WAIT_MS)
    page.locator(".output", has_text=re.compile(r"\bslots?\b")).wait_for(timeout=RUN_MS)
    page.locator("a.button.main").click()


def reach(page: Any, place: str, key: str = "Tab") -> None:
    """Go to a place with the tabulator alone, or back with `Shift+Tab`; `place` is a selector."""
    for _ in range(200):
        page.keyboard.press(key)
        if page.evaluate("place => document.activeElement.matches(place)", place):
            return
    raise AssertionError(f"the keyboard does not reach {place}")


def press(page: Any, place: str, key: str = "Enter") -> None:
    """Go to a place with the tabulator, and press a key there."""
    reach(page, place)
    page.keyboard.press(key)


def ended(page: Any) -> None:
    """Wait until nobody runs the study."""
    page.locator("#driver").get_by_text("nobody runs it now").wait_for(timeout=RUN_MS)


def drawn(page: Any) -> None:
    """Wait until curves, effects and the map of a study are drawn."""
    for place in (
        "#figure-curves .scatterlayer",
        "#figure-forest .scatterlayer",
        "#figure-map .heatmaplayer image",
    ):
        page.locator(f"{place} >> nth=0").wait_for(state="attached", timeout=WAIT_MS)


def fits(page: Any) -> bool:
    """No page is wider than its window."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))


def small(picture: bytes) -> bytes:
    """PNG with few colours."""
    out = io.BytesIO()
    Image.open(io.BytesIO(picture)).convert("RGB").quantize(64).save(out, "PNG", optimize=True)
    return out.getvalue()


def main(config: str, out: Path) -> None:
    """Write the pictures: the form, the study under way, wide and on a phone."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "studies")
        for part in ("configs", "trials"):
            shutil.copytree(part, root / part)
        with serving(root) as address, browser() as page:
            page.set_viewport_size(WIDE)
            page.goto(address)
            choose(page, config, {"seeds": "4"})
            (out / "serve-new.png").write_bytes(small(page.screenshot()))
            start(page)
            page.locator(".chips .done").nth(8).wait_for(timeout=RUN_MS)
            (out / "serve-study.png").write_bytes(small(page.screenshot()))
            page.get_by_role("heading", name="Effects").wait_for(timeout=RUN_MS)
            ended(page)
            page.set_viewport_size(PHONE)
            page.reload()
            (out / "serve-phone.png").write_bytes(small(page.screenshot()))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
