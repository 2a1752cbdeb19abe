"""The ledger adds up to the seconds in results.parquet, whatever became of the runs."""

from __future__ import annotations

import math

import pytest

from orchestrator.decide.states import TrialState
from orchestrator.record.results import results_table

BASE = {0: 0.90, 1: 0.92, 2: 0.91}


def test_every_second_is_in_it(study, ended) -> None:
    made = study(
        {
            "baseline": {seed: ended(0.9, wall_s=0.1 + seed / 3, gpu_s=0.7) for seed in range(3)},
            "no-bn": {0: ended(0.8, wall_s=1e-7), 1: ended(0.5, "stopped", wall_s=2.3, length=3)},
            "no-aug": {0: ended(None, "failed", "oom", wall_s=11.9, length=1), 2: ended(state="running")},
        }
    )
    ledger, table = made.report.ledger, results_table(made.spec, made.history)
    for column in ("wall_s", "gpu_s"):
        seconds = table.column(column).to_pylist()
        assert getattr(ledger, column) == math.fsum(seconds)
        assert math.fsum(getattr(e, column) for e in ledger.entries) == pytest.approx(
            math.fsum(seconds), abs=1e-12
        )
        for arm in ("baseline", "no-bn", "no-aug"):
            mine = [row[column] for row in table.to_pylist() if row["arm"] == arm]
            assert math.fsum(getattr(e, column) for e in ledger.of_arm(arm)) == pytest.approx(math.fsum(mine))
    assert sum(entry.runs for entry in ledger.entries) == len(made.history.cells)
    assert ledger.spent == math.fsum(length or 0.0 for length in table.column("length").to_pylist())
    assert ledger.grid == 9 * len(made.history.cells)


SEQUENTIAL = {"rule": "resolve", "version": 1, "max": 9}
BETTER = {seed: 0.95 + seed / 1000 for seed in range(12)}
WORSE = {seed: 0.80 + (seed * 7 % 5) / 1000 for seed in range(12)}
ALIKE = {seed: 0.95 + (seed * 7 % 5 - 2) / 1000 + seed / 1000 for seed in range(12)}


def test_runs_that_were_not_needed_are_saved(study, ended) -> None:
    skipped = ended(None, "skipped", reason="different after 3 seeds", length=0, wall_s=0)
    made = study(
        {"baseline": BETTER, "no-bn": WORSE | dict.fromkeys((3, 4), skipped), "no-aug": ALIKE},
        seeds=5,
        stopping=SEQUENTIAL | {"futility": 0},
    )
    assert made.report.ledger.runs(TrialState.SKIPPED) == 2
    assert made.report.ledger.saved == pytest.approx(2 / 15)
    assert made.report.complete
    assert made.report.left_out == ()


def test_reinvested_seeds_are_beyond_the_grid(study, ended) -> None:
    skipped = dict.fromkeys(range(3, 12), ended(None, "skipped", length=0, wall_s=0))
    made = study(
        {"baseline": BETTER, "no-bn": WORSE | skipped, "no-aug": ALIKE},
        seeds=5,
        stopping=SEQUENTIAL | {"goal": "reinvest"},
    )
    ledger = made.report.ledger
    assert ledger.grid == 9 * 15
    assert ledger.spent == 9 * (12 + 3 + 12)
    assert ledger.saved == 0
