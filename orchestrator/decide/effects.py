"""The effects of a study under the sequential rule: each as of the look that decided it.

An adjusted p is the smallest α at which the rule calls an arm different.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping, Sequence

from orchestrator.decide.resolve import ArmLook, Course, ResolveRule
from orchestrator.stats.claims import Material, Tally, Tested, draw_effects, gather
from orchestrator.stats.levels import alpha_of, spending
from orchestrator.stats.moderated import critical_t
from orchestrator.stats.results import Effect, Mode
from orchestrator.study.designs import Contrast

Rounds = list[dict[int, float]]
"""For each round, arm -> the smallest α whose level at that look reaches the arm's p."""
NOT_FINISHED = "not finished"
_EARLY = frozenset({"different", "equivalent", "futile"})


def sequential_effects(
    course: Course,
    rule: ResolveRule,
    contrasts: Sequence[Contrast],
    values: Mapping[str, Mapping[int, float]],
    seeds: Sequence[int],
    mode: Mode,
    *,
    failures: Mapping[str, Tally] | None = None,
) -> tuple[Effect, ...]:
    """Return what the course says about every arm, in the user's units; descriptions are of the pairs of its
    look.

    An arm that has not ended is shown as of its last look, flagged "not finished"; before the first look it
    has Δ only.

    Args:
        contrasts: the arms' differences from the reference, in the order of the rows.
        values: arm -> {seed: value of a run that reached full length}, in the user's units.
        seeds: the seed of each index of the course.
        failures: arm -> (runs that failed or diverged, runs).
    """
    latest = {look.arm: look for look in course.looks}
    seen = dict(values)
    for arm, number in seeds_seen(course, rule, contrasts).items():
        inside = set(seeds[:number])
        seen[arm] = {seed: value for seed, value in values.get(arm, {}).items() if seed in inside}
    material = gather(seen, contrasts, mode)
    adjusted = p_holm(course.looks, rule, len(contrasts))
    tested = []
    for row in range(1, len(contrasts) + 1):
        flags = () if row in course.final else (NOT_FINISHED,)
        if row in latest:
            tested.append(_tested(latest[row], rule, adjusted[row], material, flags))
        else:
            tested.append(Tested(rule.alpha, flags=flags))
    return draw_effects(material, tested, margin=rule.margin, failures=failures or {})


def seeds_seen(course: Course, rule: ResolveRule, contrasts: Sequence[Contrast]) -> dict[str, int]:
    """How many seeds of each arm its latest look has seen, and of the reference the largest of them.

    What ran ahead in vain, beyond them, is in no effect: whether it ran depends on how many lanes there are.
    """
    latest = {look.arm: look.number for look in course.looks}
    numbers: dict[str, int] = {}
    for row, contrast in enumerate(contrasts, start=1):
        number = latest.get(row, rule.steps[0])
        (arm,) = (arm for arm in contrast.weights if arm != contrast.reference)
        numbers[arm] = number
        numbers[contrast.reference] = max(number, numbers.get(contrast.reference, rule.base))
    return numbers


def _tested(
    look: ArmLook, rule: ResolveRule, adjusted: float | None, material: Material, flags: tuple[str, ...]
) -> Tested:
    if look.number < rule.looks[0]:  # one seed: no test, whatever comes of it
        claim = look.action if look.action == "screened out" else None
        return Tested(rule.alpha, mean=look.mean, claim=claim, look=look.number, flags=flags)
    index = rule.looks.index(look.number)
    plain_p = float(material.plain.p[look.arm - 1])
    wide: tuple[float, float] | tuple[None, None] = (None, None)
    if look.mean is not None and look.se is not None and look.df is not None:
        level = rule.levels(rule.alpha / len(material.contrasts))[index]
        half = critical_t(level, look.df) * look.se
        wide = (look.mean - half, look.mean + half)
    return Tested(
        mean=look.mean,
        level=rule.shown_level(look.number, look.level, look.action),
        se=look.se,
        df=look.df,
        p=look.p,
        lo=look.lo,
        hi=look.hi,
        wide_lo=wide[0],
        wide_hi=wide[1],
        p_equivalent=look.p_equivalent,
        p_holm=adjusted,
        claim=look.action if look.action in ("different", "equivalent") else None,
        plain_claims=look.level is not None and plain_p <= look.level,
        noisy=look.flagged,
        exact=look.p is None and bool(material.plain.exact[look.arm - 1]),
        look=look.number,
        early=look.action in _EARLY and look.number < rule.looks[-1],
        seeds_needed=look.seeds_needed,
        flags=flags,
    )


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
        # a larger α rejects earlier, and never less
        first = bisect_left(steps, True, key=lambda step: arm in _rejected(step, rounds, arms))
        p = steps[first] if first < len(steps) else 1.0
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


def _rejected(alpha: float, rounds: Rounds, arms: int) -> set[int]:
    rejected: set[int] = set()
    for seen in rounds:
        left = {arm: least for arm, least in seen.items() if arm not in rejected}
        while hits := {arm for arm, least in left.items() if least * (arms - len(rejected)) <= alpha}:
            rejected |= hits
            left = {arm: least for arm, least in left.items() if arm not in hits}
    return rejected
