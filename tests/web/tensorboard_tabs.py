"""TensorBoard over a study, its tabs opened in a headless browser one after the other.

As a program it writes the pictures of docs/tensorboard.md:

    python tests/web/tensorboard_tabs.py runs/digits-watched docs/images
"""

from __future__ import annotations

import io
import shutil
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

_NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((path for name in _NAMES if (path := shutil.which(name))), None)
WAIT_MS = 120_000
"""For what a tab has to show; far above what it takes on a busy machine."""

# Tab -> where to go, what its cards are called in the page, and words that have to be on it.
TABS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "scalars": (
        "scalars&tagFilter=val%2F(accuracy%7Closs)%7Cgradients%2Fnorm&_smoothingWeight=0",
        "tf-line-chart-data-loader, vz-line-chart2",
        ("val/accuracy", "val/loss", "gradients/norm", "no-batchnorm/seed-1"),
    ),
    "images": ("images&tagFilter=samples%7Cgradcam", "tf-image-loader img", ("samples/worst", "gradcam")),
    "histograms": ("histograms", "vz-histogram-timeseries path", ("gradients/",)),
    "pr-curves": ("pr_curves", "vz-line-chart2, tf-line-chart-data-loader", ("curves/0",)),
    "hparams": ("hparams", "tf-hparams-table-view", ("model.batchnorm", "final/val/accuracy")),
    "text": ("text", "tf-markdown-view", ("model.batchnorm", "the reference arm: no change")),
}


@contextmanager
def serving(logdir: Path) -> Iterator[str]:
    """The address of TensorBoard over a directory, once it has read it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [
        "--logdir",
        str(logdir),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--reload_multifile",
        "true",
    ]
    server = subprocess.Popen(
        [sys.executable, "-m", "tensorboard.main", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stderr is not None
        for line in server.stderr:
            if "Press CTRL+C" in line:
                break
        address = f"http://127.0.0.1:{port}"
        with urllib.request.urlopen(f"{address}/data/runs", timeout=WAIT_MS / 1000) as answer:
            answer.read()
        yield address
    finally:
        server.terminate()
        server.communicate()


@contextmanager
def browser() -> Iterator[Any]:
    """A page of a headless browser, 1280 x 800."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as player:
        chromium = player.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = chromium.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(WAIT_MS)
        yield page
        chromium.close()


def show(page: Any, address: str, tab: str) -> bytes:
    """Open a tab, wait for everything that has to be there, and take a picture: PNG with few colours."""
    fragment, cards, words = TABS[tab]
    page.set_viewport_size({"width": 2000 if tab == "hparams" else 1280, "height": 800})
    page.goto("about:blank")
    page.goto(f"{address}/#{fragment}")
    for word in words:
        page.get_by_text(word).first.wait_for(state="attached")
    page.locator(cards).first.wait_for(state="visible")
    page.wait_for_load_state("networkidle")
    page.wait_for_function("document.getAnimations().every(a => a.playState !== 'running')")
    small = io.BytesIO()
    Image.open(io.BytesIO(page.screenshot())).convert("RGB").quantize(64).save(small, "PNG", optimize=True)
    return small.getvalue()


def main(study: Path, out: Path) -> None:
    """Write one picture per tab."""
    with serving(study / "trials") as address, browser() as page:
        for tab in TABS:
            (out / f"tensorboard-{tab}.png").write_bytes(show(page, address, tab))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
