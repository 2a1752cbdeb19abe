"""Adjusted p-values of the sequential rule: the smallest α at which it calls an arm different."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

from orchestrator.decide.resolve import ArmLook, ResolveRule
from orchestrator.stats.levels import alpha_of, spending

Rounds = list[dict[int, float]]
"""For each round, arm -> the smallest α whose level at that look reaches the arm's p."""


def p_holm(looks: Sequence[ArmLook], rule: ResolveRule, arms: int) -> dict[int, float | None]:
    """Holm's p of each arm (by row), from the looks that were taken; None for an arm that no look could test.

    The looks are replayed with another α: same arms, same p-values, other levels. The result is at most
    `rule.alpha` exactly where the rule said "different", and 1 where no α would do: after its last look an
    arm is not looked at again.
    """
    rounds = _rounds(looks, rule)
    # the answer of the replay changes only where α / m passes one of the thresholds
    steps = sorted({m * least for seen in rounds for least in seen.values() for m in range(1, arms + 1)})
    steps = [step for step in steps if step < 1]
    different = {look.arm for look in looks if look.action == "different"}
    adjusted: dict[int, float | None] = {}
    for arm in range(1, arms + 1):
        if not any(look.arm == arm and look.p is not None for look in looks):
            adjusted[arm] = None
            continue
        p = _smallest(arm, steps, rounds, arms)
        # thresholds are inverted numerically: what the rule did settles a tie
        adjusted[arm] = min(p, rule.alpha) if arm in different else max(p, math.nextafter(rule.alpha, 1))
    return adjusted


def _rounds(looks: Sequence[ArmLook], rule: ResolveRule) -> Rounds:
    index = {look: i for i, look in enumerate(rule.looks)}
    rounds: defaultdict[int, dict[int, float]] = defaultdict(dict)
    for look in looks:
        if look.action != "budget spent" and look.p is not None:  # that one repeats a look
            rounds[look.round][look.arm] = _least_alpha(look.p, index[look.number], rule)
    return [rounds[number] for number in sorted(rounds)]


def _least_alpha(p: float, index: int, rule: ResolveRule) -> float:
    if rule.strict:
        share = spending(1.0, rule.looks, rule.gamma)[index]
        return p / share if p <= share else math.inf
    return alpha_of(p, index, rule.looks, rule.gamma)


def _smallest(arm: int, steps: list[float], rounds: Rounds, arms: int) -> float:
    """Return the first step that rejects `arm`: a larger α rejects earlier, and never less."""
    low, high = 0, len(steps)
    while low < high:
        middle = (low + high) // 2
        if arm in _rejected(steps[middle], rounds, arms):
            high = middle
        else:
            low = middle + 1
    return steps[low] if low < len(steps) else 1.0


def _rejected(alpha: float, rounds: Rounds, arms: int) -> set[int]:
    rejected: set[int] = set()
    for seen in rounds:
        left = {arm: least for arm, least in seen.items() if arm not in rejected}
        while hits := {arm for arm, least in left.items() if least * (arms - len(rejected)) <= alpha}:
            rejected |= hits
            left = {arm: least for arm, least in left.items() if arm not in hits}
    return rejected
