from __future__ import annotations

import numpy as np
import pytest
from golden import ROWS

from orchestrator.decide.effects import sequential_effects
from orchestrator.decide.resolve import ResolveRule, resolve
from orchestrator.stats.results import Effect
from orchestrator.study.designs import Contrast

Y = np.array(ROWS)
ARMS = ("baseline", "a1", "a2", "a3", "a4")
SEEDS = (10, 11, 12, 13, 14)
CONTRASTS = [Contrast(arm, "main", (arm,), {arm: 1, "baseline": -1}, "baseline") for arm in ARMS[1:]]
RULE = ResolveRule((3, 4, 5), 5)


def effects(
    ended: np.ndarray | None = None, mode: str = "max", rule: ResolveRule = RULE
) -> tuple[Effect, ...]:
    """The golden study; under `min` its values are losses, the mirror image."""
    ended = np.ones(Y.shape, dtype=bool) if ended is None else ended
    course = resolve(rule, np.where(ended, Y, np.nan), ended)
    sign = 1 if mode == "max" else -1
    values = {
        arm: {seed: sign * y for seed, y, there in zip(SEEDS, row, seen, strict=True) if there}
        for arm, row, seen in zip(ARMS, Y, ended, strict=True)
    }
    failures = dict.fromkeys(ARMS, (0, 5))
    return sequential_effects(course, rule, CONTRASTS, values, SEEDS, mode, failures=failures)  # type: ignore[arg-type]


def test_golden_effects() -> None:
    found = effects()
    assert [effect.verdict for effect in found] == ["unresolved", "hurts", "helps", "hurts"]
    assert [effect.look for effect in found] == [3, 3, 4, 4]
    assert [effect.n for effect in found] == [3, 3, 4, 4]
    assert all(effect.early for effect in found)
    assert (found[1].lo, found[1].hi) == pytest.approx((-1.116107, -0.75056), abs=2e-6)
    assert found[0].seeds == (10, 11, 12)
    assert found[0].seeds_needed is not None
    assert found[3].flags == ("noisy",)
    for effect in found:
        assert (effect.p_holm <= 0.05) == (effect.verdict != "unresolved")  # type: ignore[operator]
        assert effect.wide_lo < effect.lo < effect.hi < effect.wide_hi  # type: ignore[operator]
        assert effect.failures is not None


def test_what_describes_an_effect_comes_from_its_look() -> None:
    effect = effects()[1]
    D = Y[2, :3] - Y[0, :3]
    assert effect.delta == pytest.approx(D.mean())
    assert effect.sd == pytest.approx(D.std(ddof=1))
    assert effect.percent == pytest.approx(100 * D.mean() / Y[0, :3].mean())
    assert effect.d_sd == pytest.approx(D.mean() / Y[0, :3].std(ddof=1))


def test_mode_min_is_a_mirror() -> None:
    for one, other in zip(effects(), effects(mode="min"), strict=True):
        assert (one.verdict, one.p_holm, one.wins, one.look) == (
            other.verdict,
            other.p_holm,
            other.wins,
            other.look,
        )
        assert (one.delta, one.lo, one.wide_hi) == (-other.delta, -other.hi, -other.wide_lo)


def test_before_the_first_look_there_is_a_difference_only() -> None:
    ended = np.zeros(Y.shape, dtype=bool)
    ended[:, :2] = True
    for effect in effects(ended):
        assert (effect.n, effect.p, effect.p_holm, effect.lo) == (2, None, None, None)
        assert effect.verdict == "unresolved"
        assert effect.flags == ("no interval", "not finished")


def test_between_looks_an_arm_stands_as_at_its_last() -> None:
    ended = np.ones(Y.shape, dtype=bool)
    ended[3, 3] = False
    found, whole = effects(ended), effects()
    assert found[:2] == whole[:2]
    assert found[3].look == 3
    assert found[2].look == 3
    assert found[2].flags == ("not finished",)
    assert found[2].verdict == "unresolved"


def test_a_margin_is_part_of_the_rule() -> None:
    found = effects(rule=ResolveRule((3, 4, 5), 5, margin=0.5))
    assert [effect.verdict for effect in found] == [
        "practically equivalent", "hurts", "practically equivalent", "hurts",
    ]  # fmt: skip
