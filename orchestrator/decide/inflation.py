"""By how much an effect leans large where a test has stopped early: chance had helped it to the stop."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from orchestrator.decide.resolve import ResolveRule
from orchestrator.stats.moderated import critical_t

_DRAWS = 20_000
_BORROWED = 4


@lru_cache(maxsize=64)
def inflation(rule: ResolveRule, open_arms: int, effect: float, rho: float) -> float | None:
    """Return what is shown of an effect after an early stop, on average, over the truth.

    One arm is simulated, with the rule's looks and levels and a pool whose variance is known; always the same
    draws. None where hardly any arm of that size stops early.

    Args:
        open_arms: how many arms share α when the arm is judged: those that are not different yet.
        effect: the truth, in SDs between the seeds of one arm.
        rho: correlation of two arms over their seeds.
    """
    pool = 2 * (1 - rho)
    D = np.random.default_rng(0).standard_normal((_DRAWS, rule.looks[-1])) * np.sqrt(pool) + effect  # noqa: N806
    going, shown = np.ones(_DRAWS, dtype=bool), np.empty(0)
    for look, level in zip(rule.looks[:-1], rule.levels(rule.alpha / open_arms)[:-1], strict=True):
        mean, s2, own = D[:, :look].mean(axis=1), D[:, :look].var(axis=1, ddof=1), look - 1
        borrowed = 0 if rule.variance == "per_arm" else _BORROWED
        v = np.maximum(s2, (own * s2 + borrowed * pool) / (own + borrowed))
        stops = going & (np.abs(mean) >= critical_t(level, own + borrowed) * np.sqrt(v / look))
        shown, going = np.concatenate([shown, mean[stops]]), going & ~stops
    return float(shown.mean()) / effect if shown.size >= _DRAWS / 500 else None
