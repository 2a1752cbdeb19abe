from __future__ import annotations

from dataclasses import replace

from orchestrator.reporting.analysed import report_of
from orchestrator.reporting.said import SaidEffect
from orchestrator.stats import effects

OUTCOMES = {
    "baseline": {0: 0.934, 1: 0.931, 2: 0.937},
    "no-bn": {0: 0.914, 1: 0.915, 2: 0.919},
    "no-aug": {0: 0.93, 1: 0.935, 2: 0.936},
}


def test_a_table_says_what_the_report_of_the_same_runs_says(study) -> None:
    rows = [
        {"arm": arm, "seed": seed, "val/accuracy": value}
        for arm, by_seed in OUTCOMES.items()
        for seed, value in by_seed.items()
    ]
    studied, analysed = study(OUTCOMES).report, report_of(effects(rows), "digits")
    known = [replace(effect, components=(), failures=None) for effect in studied.first.effects]
    assert list(analysed.first.effects) == known
    assert analysed.first.samples == studied.first.samples
    assert analysed.first.pairing == studied.first.pairing
    first, second = (
        [SaidEffect(report, report.first, effect) for effect in report.first.effects]
        for report in (studied, analysed)
    )
    assert [(one.difference, one.verdict, one.planned) for one in first] == [
        (one.difference, one.verdict, one.planned) for one in second
    ]
