"""Runs an example study by its own command and reads the verdicts of its report."""

from __future__ import annotations

import json
from pathlib import Path

from workbench import REPOSITORY, in_process

from orchestrator.stats.results import EQUIVALENT, UNRESOLVED

NOT_DIFFERENT = (EQUIVALENT, UNRESOLVED)


def verdicts(study: str, storage: Path, address: str) -> dict[str, str]:
    """`orchestrate ablate --config configs/<study>.yaml`; arm -> verdict of `effects.json`."""
    words = ["ablate", "--config", f"configs/{study}.yaml", f"storage={storage}", "--address", address]
    done = in_process(*words, cwd=REPOSITORY)
    assert done.code == 0, done.err
    report = json.loads((storage / study / "effects.json").read_text())
    return {effect["arm"]: effect["verdict"] for effect in report["effects"]}
