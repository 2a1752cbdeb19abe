"""A short ordeal of a small study. The long one is `make chaos`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import ground
import pytest

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.long]

CHAOS = Path(__file__).with_name("chaos.py")
SMALL = {"--seed": 4, "--faults": 6, "--arms": 4, "--seeds": 2}


def test_six_faults_over_eight_cells_lose_double_and_change_nothing(tmp_path: Path) -> None:
    if ground.inside_a_namespace(["true"]) != 0:
        pytest.skip("no namespaces of one's own: needs unshare, and root or user namespaces")
    options = [str(word) for pair in SMALL.items() for word in pair]
    ended = subprocess.run(
        [sys.executable, str(CHAOS), *options, "--json", str(tmp_path / "said.json")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    said = json.loads((tmp_path / "said.json").read_text())
    assert said["wrong"] == []
    assert (said["cells"], said["faults"]) == (8, 6)
    assert sum(row["times"] for row in said["rows"]) == 6
    assert said["drivers"] > 1
