"""Two data-parallel ranks on gloo."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_two_ranks_agree_resume_exactly_and_diverge_together(tmp_path: Path) -> None:
    script = Path(__file__).with_name("two_ranks.py")
    ranks = [
        subprocess.Popen(
            [sys.executable, str(script), str(rank), str(tmp_path / "store"), str(tmp_path)],
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        for rank in ranks:
            _, errors = rank.communicate(timeout=120)
            assert rank.returncode == 0, errors
    finally:
        for rank in ranks:
            rank.kill()
            rank.wait()
    first, second = (json.loads((tmp_path / f"rank-{rank}.json").read_text()) for rank in range(2))
    assert first == second
    for mode in ("plain", "accumulate"):
        reports = first[mode]["reports"]
        assert len(reports) > 1
        assert first[mode]["resumed"] == reports[1:]
        # 25 validation samples: the shares are uneven, and still every one counts once.
        correct = reports[-1]["val/accuracy"] * 25
        assert correct == pytest.approx(round(correct), abs=1e-9)
    assert first["diverged"] <= 10
