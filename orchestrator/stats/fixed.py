"""The effects of a study that looks once, at the planned number of seeds.

Legend: Y is a metric value in the user's units, D the paired values of a contrast, Δ their mean.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from orchestrator.stats.claims import Material, Tally, Tested, draw_effects, finite, gather
from orchestrator.stats.holm import holm
from orchestrator.stats.moderated import FIRST, Estimates, Pooling, Variance, estimate
from orchestrator.stats.power import Question, seeds_needed
from orchestrator.stats.results import Effect, Mode, Sample
from orchestrator.study.designs import Contrast


def summarise(arm: str, values: Mapping[int, float]) -> Sample:
    """Describe the finished runs of `arm`, {seed: value}; values that are not finite do not count."""
    Y = np.array(list(finite(values).values()))  # noqa: N806 - the notation of the field
    if not Y.size:
        return Sample(arm, 0, None, None)
    with np.errstate(over="ignore", invalid="ignore"):
        sd = float(Y.std(ddof=1)) if Y.size > 1 else None
        return Sample(arm, int(Y.size), float(Y.mean()), sd)


def fixed_effects(
    values: Mapping[str, Mapping[int, float]],
    contrasts: Sequence[Contrast],
    mode: Mode,
    *,
    alpha: float,
    margin: float | None = None,
    variance: Variance = "moderated",
    pooling: Pooling = FIRST,
    failures: Mapping[str, Tally] | None = None,
    no_claim: str | None = None,
) -> tuple[Effect, ...]:
    """Every contrast from the seeds for which all of its arms have a finite value, in the order given.

    The contrasts are one family of main effects and one of interactions: Holm corrects within each, for
    differences and, given a `margin`, for equivalence (two one-sided tests). Variance is pooled over both.

    Args:
        values: arm -> {seed: value of a run that reached full length}; a missing arm has none.
        contrasts: what is estimated; an arm that is added later belongs to a call of its own.
        margin: differences below it are practically equal, in the metric's units.
        variance, pooling: as in `estimate`.
        failures: arm -> (runs that failed or diverged, runs).
        no_claim: a word such as "rung-only": the effects get Δ and n, that word as their verdict, and neither
            interval nor p.
    """
    material = gather(values, contrasts, mode)
    tested = [Tested(alpha)] * len(contrasts)
    if no_claim is None:
        found = estimate(material.Y, material.W, variance, pooling)
        for kind in ("main", "interaction"):
            family = [index for index, contrast in enumerate(contrasts) if contrast.kind == kind]
            for index, test in zip(family, _family(material, found, family, alpha, margin), strict=True):
                tested[index] = test
    return draw_effects(material, tested, margin=margin, failures=failures or {}, no_claim=no_claim)


def _family(
    material: Material, found: Estimates, family: Sequence[int], alpha: float, margin: float | None
) -> Iterator[Tested]:
    """Test the contrasts at these positions as one family."""
    size = len(family)
    p, p_plain = _listed(found, found.p), _listed(material.plain, material.plain.p)
    p_equivalent = [None] * len(p) if margin is None else _listed(found, found.p_equivalent(margin))
    adjusted, plain = holm([p[i] for i in family]), holm([p_plain[i] for i in family])
    adjusted_equivalent = holm([p_equivalent[i] for i in family])
    different = sum(_at_most(a, alpha) for a in adjusted)
    equivalent = sum(_at_most(a, alpha) for a in adjusted_equivalent)
    half, wide = found.half_width(alpha), found.half_width(alpha / max(1, size))
    for i, a, a_plain, a_equivalent in zip(family, adjusted, plain, adjusted_equivalent, strict=True):
        if a is None:
            yield Tested(alpha, exact=bool(found.exact[i]))
            continue
        mean, df, n = float(found.mean[i]), float(found.df[i]), int(found.n[i])
        open_ = a > alpha and not _at_most(a_equivalent, alpha)
        question = Question(
            alpha / max(1, size - different), min(1.0, 2 * alpha / max(1, size - equivalent)), margin
        )
        yield Tested(
            level=alpha,
            se=float(found.se[i]),
            df=df,
            p=p[i],
            lo=mean - float(half[i]),
            hi=mean + float(half[i]),
            wide_lo=mean - float(wide[i]),
            wide_hi=mean + float(wide[i]),
            p_equivalent=p_equivalent[i],
            p_holm=a,
            claim="different" if a <= alpha else None if open_ else "equivalent",
            plain_claims=_at_most(a_plain, alpha),
            noisy=bool(found.flagged[i]),
            seeds_needed=seeds_needed(question, mean, float(found.v[i]), df - (n - 1)) if open_ else None,
        )


def _listed(found: Estimates, numbers: np.ndarray) -> list[float | None]:
    return [
        p if testable else None for p, testable in zip(numbers.tolist(), found.testable.tolist(), strict=True)
    ]


def _at_most(p: float | None, alpha: float) -> bool:
    return p is not None and p <= alpha
