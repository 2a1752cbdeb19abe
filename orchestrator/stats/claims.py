"""From what a test says about a contrast to the effect that the report shows.

Everything in here is oriented (higher is better) until `_in_users_units`, the one place that turns it back.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from orchestrator.stats import descriptions
from orchestrator.stats.holm import benjamini_hochberg
from orchestrator.stats.moderated import Estimates, estimate
from orchestrator.stats.results import (
    EQUIVALENT,
    FAILS,
    HELPS,
    HURTS,
    INTERACTS,
    NO_DATA,
    SCREENED,
    SIZE_UNCLEAR,
    UNRESOLVED,
    Effect,
    Failures,
    Inference,
    Mode,
    PairedT,
)
from orchestrator.study.designs import Contrast

Tally = tuple[int, int]
"""Runs of an arm that failed or diverged, and all its runs."""
_INFERRED = tuple(field.name for field in fields(Inference))


@dataclass(frozen=True)
class Tested(Inference):
    """What the procedure says about one contrast, oriented; the defaults say that there was no test.

    `mean`: Δ where it may be another one than the mean of the pairs; `level`: that of `lo` and `hi`; `claim`:
    what the procedure rejects, or that it has looked at one seed and at no other; `plain_claims`: the plain
    paired t would have claimed a difference as well; `exact`: all differences are equal, so that nothing
    could be tested.
    """

    level: float
    mean: float | None = None
    claim: Literal["different", "equivalent", "screened out"] | None = None
    plain_claims: bool = False
    noisy: bool = False
    exact: bool = False
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Material:
    """The values behind a set of contrasts, oriented: Y (arms × seeds), W (contrasts × arms), plain tests."""

    mode: Mode
    contrasts: tuple[Contrast, ...]
    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    Y: NDArray[np.float64]
    W: NDArray[np.float64]
    plain: Estimates

    def row(self, arm: str) -> NDArray[np.float64] | None:
        """Return the values of an arm; None where no contrast has to do with it."""
        return self.Y[self.arms.index(arm)] if arm in self.arms else None


def finite(values: Mapping[int, float]) -> dict[int, float]:
    """Return the seeds whose value is a finite number, in seed order."""
    return {seed: float(values[seed]) for seed in sorted(values) if math.isfinite(values[seed])}


def gather(values: Mapping[str, Mapping[int, float]], contrasts: Sequence[Contrast], mode: Mode) -> Material:
    """Lay out what the contrasts need; `values`: arm -> {seed: value in the user's units}."""
    arms = tuple(dict.fromkeys(arm for contrast in contrasts for arm in contrast.weights))
    rows = [finite(values.get(arm, {})) for arm in arms]
    seeds = tuple(sorted(set().union(*rows)))
    sign = 1 if mode == "max" else -1
    Y = np.full((len(arms), len(seeds)), np.nan)  # noqa: N806 - the notation of the field
    for index, row in enumerate(rows):
        Y[index] = [sign * row.get(seed, math.nan) for seed in seeds]
    W = np.array([[contrast.weights.get(arm, 0.0) for arm in arms] for contrast in contrasts])  # noqa: N806
    W = W.reshape(len(contrasts), len(arms))  # noqa: N806
    return Material(mode, tuple(contrasts), arms, seeds, Y, W, estimate(Y, W, "per_arm"))


def draw_effects(
    material: Material,
    tested: Sequence[Tested],
    *,
    margin: float | None,
    failures: Mapping[str, Tally],
    no_claim: str | None = None,
) -> tuple[Effect, ...]:
    """One effect for each contrast, in order and in the user's units; with `no_claim` as their verdict."""
    with np.errstate(over="ignore", invalid="ignore"):  # a metric may be anything
        effects = [_effect(material, index, test, failures) for index, test in enumerate(tested)]
    for kind in ("main", "interaction"):
        members = [index for index, effect in enumerate(effects) if effect.kind == kind]
        for index, q in zip(members, benjamini_hochberg([effects[i].p for i in members]), strict=True):
            effects[index] = replace(effects[index], q=q)
    for index, (effect, test) in enumerate(zip(effects, tested, strict=True)):
        verdict = _verdict(effect, test, margin, _lost(effect, material.contrasts[index], failures))
        if no_claim is not None and effect.n:
            verdict = no_claim
        effects[index] = replace(effect, verdict=verdict)
    return tuple(effects if material.mode == "max" else map(_in_users_units, effects))


def _effect(material: Material, index: int, test: Tested, failures: Mapping[str, Tally]) -> Effect:
    contrast, plain = material.contrasts[index], material.plain
    n = int(plain.n[index])
    empty = Effect(
        arm=contrast.name,
        kind=contrast.kind,
        reference=contrast.reference,
        n=n,
        method="none",
        verdict=NO_DATA,
        seeds=tuple(np.array(material.seeds)[plain.paired[index]].tolist()),
        flags=_failure_flags(n, contrast, failures) + test.flags,
        components=contrast.components,
        failures=_failures(contrast, failures),
        look=test.look,
    )
    if not n:
        return empty
    delta = float(plain.mean[index]) if test.mean is None else test.mean
    D = plain.D[index][plain.paired[index]]  # noqa: N806 - the notation of the field
    sd = math.sqrt(plain.s2[index]) if n > 1 else None
    moderated = test.df is not None and test.df > n - 1
    method = "mean difference" if test.p is None else "moderated paired t" if moderated else "paired t"
    tested: dict[str, Any] = {name: getattr(test, name) for name in _INFERRED}
    return replace(
        empty,
        **tested,
        delta=delta,
        method=method,
        flags=_flags(test) + empty.flags,
        sd=sd,
        plain=_plain(plain, index, test.level) if test.p is not None else None,
        wins=descriptions.wins(D, test.level) if contrast.kind == "main" and test.look != 1 else None,
        percent=_percent(material, index, delta),
        d_sd=_in_seed_sds(material, index, delta),
        g_z=descriptions.hedges_g(delta, sd, n) if sd is not None else None,
        p_permutation=descriptions.sign_flip_p(D),
    )


def _flags(test: Tested) -> tuple[str, ...]:
    said = {
        "no interval": test.p is None,
        "zero variance": test.exact,
        "noisy": test.noisy,
        "moderated only": test.claim == "different" and not test.plain_claims,
    }
    return tuple(flag for flag, holds in said.items() if holds)


def _treated(contrast: Contrast) -> list[str]:
    return [arm for arm in contrast.weights if arm != contrast.reference]


def _failure_flags(n: int, contrast: Contrast, failures: Mapping[str, Tally]) -> tuple[str, ...]:
    """Warn that a failed run is an outcome of its arm: Δ holds on the condition that runs succeed."""
    failed = sum(failures[arm][0] for arm in _treated(contrast) if arm in failures)
    return (f"{failed} failed", *(["conditional"] if n else [])) if failed else ()


def _failures(contrast: Contrast, failures: Mapping[str, Tally]) -> Failures | None:
    treated = _treated(contrast)
    if len(treated) != 1:
        return None
    return descriptions.compare_failures(failures.get(treated[0]), failures.get(contrast.reference))


def _lost(effect: Effect, contrast: Contrast, failures: Mapping[str, Tally]) -> bool:
    """Without a pair because all runs of an arm have failed."""
    tallies = [failures[arm] for arm in _treated(contrast) if arm in failures]
    return not effect.n and any(failed == runs > 0 for failed, runs in tallies)


def _plain(plain: Estimates, index: int, level: float) -> PairedT | None:
    if not plain.testable[index]:
        return None
    mean, half = float(plain.mean[index]), float(plain.half_width(level)[index])
    return PairedT(mean, math.sqrt(plain.s2[index]), mean - half, mean + half, float(plain.p[index]))


def _percent(material: Material, index: int, delta: float) -> float | None:
    """Δ in % of the mean of the reference over the same seeds.

    Where the reference is no arm (main effects of a factorial design) it is what the contrast subtracts.
    """
    contrast, paired = material.contrasts[index], material.plain.paired[index]
    row = material.row(contrast.reference)
    if row is None:
        if contrast.kind == "interaction":
            return None
        row = np.maximum(-material.W[index], 0.0) @ np.where(np.isfinite(material.Y), material.Y, 0.0)
    mean = float(row[paired].mean())
    return 100 * delta / abs(mean) if mean and math.isfinite(mean) else None


def _in_seed_sds(material: Material, index: int, delta: float) -> float | None:
    """Δ over the SD of the reference between the same seeds."""
    row = material.row(material.contrasts[index].reference)
    Y = row[material.plain.paired[index]] if row is not None else np.empty(0)  # noqa: N806 - as in the field
    sd = float(Y.std(ddof=1)) if Y.size > 1 else 0.0
    return delta / sd if 0 < sd < math.inf else None


def _verdict(effect: Effect, test: Tested, margin: float | None, lost: bool) -> str:
    if not effect.n or effect.delta is None:
        return FAILS if lost else NO_DATA
    if test.claim == "equivalent":
        return EQUIVALENT
    if test.claim == "screened out":
        return SCREENED
    if test.claim is None:
        return UNRESOLVED
    if margin is not None and abs(effect.delta) < margin:
        return SIZE_UNCLEAR
    if effect.kind == "interaction":
        return INTERACTS
    return HELPS if effect.delta > 0 else HURTS


def _in_users_units(effect: Effect) -> Effect:
    """Undo the orientation of a metric that is better when lower. P(A > B) stays: better is better."""
    plain = effect.plain
    return replace(
        effect,
        delta=_minus(effect.delta),
        lo=_minus(effect.hi),
        hi=_minus(effect.lo),
        wide_lo=_minus(effect.wide_hi),
        wide_hi=_minus(effect.wide_lo),
        percent=_minus(effect.percent),
        d_sd=_minus(effect.d_sd),
        g_z=_minus(effect.g_z),
        plain=plain and replace(plain, mean=-plain.mean, lo=_minus(plain.hi), hi=_minus(plain.lo)),
    )


def _minus(value: float | None) -> float | None:
    return None if value is None else 0.0 - value  # no −0.0
