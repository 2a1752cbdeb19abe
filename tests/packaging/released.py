"""The sdist and the wheel, built as `make release` builds them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
NOT_SOURCE = (".*", "__pycache__", "*.egg-info")
MADE = {"build", "dist", "runs", "checks"}
"""At the top, where commands write; packages below may go by such a name."""


@dataclass(frozen=True)
class Release:
    """`source` is the copy of the checkout that both were built from."""

    source: Path
    sdist: Path
    wheel: Path


def build(place: Path) -> Release:
    """Build both in `place`, from a copy of the checkout: building writes into its source."""

    def left_out(folder: str, names: list[str]) -> set[str]:
        anywhere = shutil.ignore_patterns(*NOT_SOURCE)(folder, names)
        return anywhere | MADE if Path(folder) == ROOT else anywhere

    source = shutil.copytree(ROOT, place / "source", ignore=left_out)
    built = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", place / "dist", source],
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    [sdist] = (place / "dist").glob("*.tar.gz")
    [wheel] = (place / "dist").glob("*.whl")
    return Release(source, sdist, wheel)
