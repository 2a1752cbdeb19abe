"""The effects of a study under the sequential rule: each as of the look that decided it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestrator.decide.adjusted import p_holm
from orchestrator.decide.resolve import ArmLook, Course, ResolveRule
from orchestrator.stats.claims import Material, Tally, Tested, draw_effects, gather
from orchestrator.stats.moderated import critical_t
from orchestrator.stats.results import Effect, Mode
from orchestrator.study.designs import Contrast

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
        number = latest.get(row, rule.looks[0])
        (arm,) = (arm for arm in contrast.weights if arm != contrast.reference)
        numbers[arm] = number
        numbers[contrast.reference] = max(number, numbers.get(contrast.reference, 0))
    return numbers


def _tested(
    look: ArmLook, rule: ResolveRule, adjusted: float | None, material: Material, flags: tuple[str, ...]
) -> Tested:
    index = rule.looks.index(look.number)
    plain_p = float(material.plain.p[look.arm - 1])
    wide: tuple[float, float] | tuple[None, None] = (None, None)
    if look.mean is not None and look.se is not None and look.df is not None:
        level = rule.levels(rule.alpha / len(material.contrasts))[index]
        half = critical_t(level, look.df) * look.se
        wide = (look.mean - half, look.mean + half)
    return Tested(
        level=rule.levels(rule.alpha)[index],
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
