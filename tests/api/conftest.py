"""A study of trials that take no time, in a directory of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

TRIAL = """\
import ray.train


def train(config):
    for epoch in range(1, int(config["max_length"]) + 1):
        ray.train.report({"epoch": epoch, "loss": config["level"] * (1 + config["seed"]) / epoch})
"""
STUDY: dict[str, Any] = {
    "name": "levels",
    "entrypoint": "levels:train",
    "metric": {"name": "loss", "mode": "min"},
    "baseline": {"level": 1.0},
    "components": {"level": {"swap": {"two": {"level": 2.0}}, "why": "does it matter?"}},
    "seeds": 2,
    "stopping": {"rule": "none", "max": 2, "unit": "epoch"},
    "resources": {"max_parallel": 1},
}


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The study as a mapping; its code is in the current directory, and so is its storage."""
    (tmp_path / "levels.py").write_text(TRIAL)
    monkeypatch.chdir(tmp_path)
    return dict(STUDY)
