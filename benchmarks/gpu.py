"""What one GPU gives: lanes that share it, loops in bf16, what a stop costs, what trials leave behind.

    python benchmarks/gpu.py                    # four parts of at most three minutes each
    python benchmarks/gpu.py --only loop --json figures.json
    python benchmarks/gpu.py --write            # and puts the tables into docs/benchmarks.md, docs/gpu.json

Without a GPU it says so in one line, measures nothing and ends with exit code 3. `--device cpu --tiny` goes
through all of it in a minute, without Ray: it shows that the program works, its figures say nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gpu_parts
import page
from leavings import save
from machine import describe

NO_GPU = "Not measured: no GPU was at hand."
NO_GPU_CODE = 3
LIMIT_S = 180.0
"""For a part. What is not over then is ended, and told."""
MARK = "gpu"
FIGURES = page.PAGE.with_name("gpu.json")
PARTS: dict[str, Callable[[gpu_parts.Setting], dict[str, Any]]] = {
    "packing": gpu_parts.packing,
    "loop": gpu_parts.loop,
    "stop": gpu_parts.stop,
    "left": gpu_parts.left,
}


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS), help="these parts")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--tiny", action="store_true", help="seconds, in this process: figures say nothing")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.add_argument("--write", action="store_true", help=f"write {page.PAGE.name} and {FIGURES.name}")
    chosen = parser.parse_args(words)
    if chosen.device == "cpu" and not chosen.tiny:
        parser.error("--device cpu: only with --tiny, to see that the program works")
    if chosen.write and (chosen.tiny or chosen.only != list(PARTS)):
        parser.error("--write: the page has all parts at their whole size, leave --only and --tiny out")
    return chosen


def drawn(figures: Mapping[str, Any] | None) -> str:
    """All tables as Markdown; `figures` as `--json` has them, None where nothing was measured."""
    if figures is None:
        return f"{NO_GPU}\n"
    parts = [f"{figures['machine']}.\n"]
    for name, found in figures["parts"].items():
        parts.append(gpu_parts.DRAWN[name](found))
        parts += [f"{each}\n" for each in found["told"]]
    return "\n".join(parts)


def kept() -> dict[str, Any] | None:
    """What was measured last, where there was a GPU."""
    return json.loads(FIGURES.read_text(encoding="utf-8")) if FIGURES.exists() else None


def at_hand(device: str) -> bool:
    """Whether there is such a device."""
    import torch

    return device == "cpu" or torch.cuda.is_available()


def main(words: Sequence[str] | None = None) -> int:
    chosen = arguments(words)
    if not at_hand(chosen.device):
        print(NO_GPU)
        if chosen.write:
            page.write(MARK, drawn(kept()))
        return NO_GPU_CODE
    parts = {}
    for name in chosen.only:
        print(f"{name}: at most {LIMIT_S / 60:g} minutes ...", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix="g", ignore_cleanup_errors=True) as scratch:
            until = time.monotonic() + LIMIT_S
            parts[name] = PARTS[name](gpu_parts.Setting(chosen.device, chosen.tiny, Path(scratch), until))
    figures = {"machine": describe(), "parts": parts}
    print(drawn(figures))
    save(chosen.json, parts=parts)
    if chosen.write:
        save(FIGURES, parts=parts)
        page.write(MARK, drawn(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
