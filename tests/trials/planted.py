"""Runs an example study by its own command and reads the verdicts of its report."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from orchestrator.stats.results import EQUIVALENT, UNRESOLVED

ROOT = Path(__file__).parents[2]
NOT_DIFFERENT = (EQUIVALENT, UNRESOLVED)


def verdicts(study: str, storage: Path) -> dict[str, str]:
    """`orchestrate ablate --config configs/<study>.yaml`; arm -> verdict of `effects.json`."""
    command = "import sys; from orchestrator.cli.app import main; sys.exit(main())"
    words = ["ablate", "--config", f"configs/{study}.yaml", f"storage={storage}"]
    done = subprocess.run(
        [sys.executable, "-c", command, *words],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    report = json.loads((storage / study / "effects.json").read_text())
    return {effect["arm"]: effect["verdict"] for effect in report["effects"]}
