"""Two data-parallel ranks on gloo."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from toy import config
from two_ranks import measure

from orchestrator.training.local import LocalSession


def same_as_one_rank(measured: list[Any], folder: Path) -> None:
    """25 samples in batches of 4: 13 and 12 on two ranks, so that both end with an incomplete batch."""
    session = LocalSession(config(data__batch_size=4), max_length=2, trial_dir=str(folder))
    alone = measure(session)
    two, other = measured
    for rank in measured:
        assert rank["report"] == pytest.approx(alone["report"], rel=1e-6)
    assert two["report"]["val/accuracy"] == alone["report"]["val/accuracy"]
    assert two["report"] == other["report"]
    assert two["curves"] == alone["curves"]
    counted = [name for name in alone["scalars"] if "cross_entropy" not in name]
    assert {name: two["scalars"][name] for name in counted} == {
        name: alone["scalars"][name] for name in counted
    }
    for row, expected in zip(two["rows"], alone["rows"], strict=True):
        losses = [given.pop("loss", 0.0) for given in (row, expected)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-6)
        assert row == expected
    assert {row["index"] for row in alone["rows"] if "index" in row} == set(range(25))
    assert two["histograms"].keys() == alone["histograms"].keys()
    for tag, values in alone["histograms"].items():
        assert two["histograms"][tag] == pytest.approx(values, rel=1e-6)


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
    measured = [result.pop("measured") for result in (first, second)]
    same_as_one_rank(measured, tmp_path)
    assert first == second
    assert first["origin"].startswith("first in the task's loss: mul at ")
    for mode in ("plain", "accumulate"):
        reports = first[mode]["reports"]
        assert len(reports) > 1
        assert first[mode]["resumed"] == reports[1:]
        # 25 validation samples: the shares are uneven, and still every one counts once.
        correct = reports[-1]["val/accuracy"] * 25
        assert correct == pytest.approx(round(correct), abs=1e-9)
    assert first["diverged"] <= 10
    ids, mean, reported = first["scores"]
    assert len(ids) == len(set(ids)) == 25
    assert mean == pytest.approx(reported, rel=1e-9)
    assert first["mean gradients"] == [[0.5, 2.0], [1.5, 2.0], None, [0.5, 0.5]]
    whole, resumed, reports, further = first["adversarial"]
    assert whole == resumed
    assert reports[1:] == further
    assert len(reports) > 1
