"""What a reviewer asks, answered beside the table: what is covered, what leans large, what is assumed."""

from __future__ import annotations

import json

import pytest

from orchestrator.decide.inflation import inflation
from orchestrator.decide.resolve import ResolveRule
from orchestrator.reporting.effects_json import to_json
from orchestrator.reporting.markdown import to_markdown
from orchestrator.stats.descriptions import rank_correlation

BASE = {0: 0.934, 1: 0.931, 2: 0.937}
FLAT = {0: 351 / 360, 1: 351 / 360, 2: 351 / 360}
SAVE = {"rule": "resolve", "max": 9}


def caveats(found, *words: str) -> list[str]:
    return [line for line in found.report.caveats if any(word in line for word in words)]


def test_an_interval_says_what_it_covers(study) -> None:
    found = study({"baseline": BASE, "no-bn": {0: 0.914, 1: 0.915, 2: 0.919}})
    [line] = found.report.caveats
    assert line.startswith("Intervals are for new seeds: they cover what a seed changes")
    assert line in to_markdown(found.report)
    assert line not in json.dumps(to_json(found.report), ensure_ascii=False)


def test_without_an_interval_nothing_is_said_of_it(study) -> None:
    assert study({"baseline": {0: 0.9}, "no-bn": {0: 0.8}}, seeds=1).report.caveats == ()


def test_a_coarse_metric_is_named_with_its_count(study) -> None:
    outcomes = {"baseline": FLAT, "no-bn": {0: 340 / 360, 1: 343 / 360, 2: 341 / 360}}
    [line] = caveats(study(outcomes), "SD of 0")
    assert line.startswith(
        "The same val/accuracy: 3 of 3 runs of baseline (0.975, 351 of 360). An SD of 0 says"
    )


@pytest.mark.parametrize("metric", ["val/accuracy", "val/loss"])
def test_without_a_count_the_value_is_named(study, metric) -> None:
    outcomes = {"baseline": dict.fromkeys(range(3), 0.12345678912), "no-bn": {0: 0.2, 1: 0.3, 2: 0.1}}
    [line] = caveats(study(outcomes, metric={"name": metric, "mode": "max"}), "SD of 0")
    assert " of 3 runs of baseline (0.1" in line
    assert line.count(" of ") == 3


def test_noise_that_grows_with_the_effect_is_noticed(study) -> None:
    arms = {
        f"no-c{n}": {seed: 0.9 - 0.02 * n + 0.004 * n * (seed - 1) for seed in range(3)} for n in range(1, 7)
    }
    even = {
        f"no-c{n}": {seed: 0.9 - 0.02 * n + 0.004 * (n % 3 + 1) * (seed - 1) for seed in range(3)}
        for n in range(1, 7)
    }
    base = {0: 0.9, 1: 0.9, 2: 0.9}
    [line] = caveats(study({"baseline": base, **arms}), "varies")
    assert "(rank correlation 1.00 over 6 arms, p < .001)" in line
    assert caveats(study({"baseline": base, **even}), "varies") == []


def test_how_large_early_stopped_effects_look(study) -> None:
    worse = {seed: value - 0.1 for seed, value in {**BASE, 3: 0.935, 4: 0.932}.items()} | {1: 0.8312}
    outcomes = {"baseline": {**BASE, 3: 0.935, 4: 0.932}, "no-bn": {seed: worse[seed] for seed in range(3)}}
    report = study(outcomes, seeds=5, stopping=SAVE).report
    assert report.first.effects[0].early
    [line] = [line for line in report.caveats if "lean large" in line]
    assert "by the true size, in SDs between seeds, they are shown on average at " in line
    assert f"looks after {', '.join(map(str, report.looks))} seeds" in line


RULE = ResolveRule((3, 4, 5), 5)


def test_inflation_falls_with_the_size_of_an_effect_and_grows_with_the_arms() -> None:
    by_size = [inflation(RULE, 8, 5, size, 0.3) for size in (1.0, 2.0, 4.0)]
    assert None not in by_size
    assert by_size == sorted(by_size, reverse=True)
    assert by_size[1] == pytest.approx(1.28, abs=0.05)  # of whole studies, 1,500 of S1
    assert by_size[2] == pytest.approx(1.03, abs=0.02)
    assert inflation(RULE, 8, 8, 2.0, 0.3) > inflation(RULE, 8, 1, 2.0, 0.3)
    assert inflation(ResolveRule((2,), 2), 8, 8, 2.0, 0.3) is None


def test_rank_correlation_is_spearmans() -> None:
    from scipy import stats

    x, y = [1.0, 2.0, 2.0, 5.0, 3.0, 9.0], [0.5, 0.1, 0.4, 0.9, 0.4, 0.8]
    wanted = stats.spearmanr(x, y)
    assert rank_correlation(x, y) == pytest.approx((wanted.statistic, wanted.pvalue))
    assert rank_correlation([1.0, 1.0, 1.0], y[:3]) is None
