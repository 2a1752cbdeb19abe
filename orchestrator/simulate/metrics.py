"""How often a method errs and what it costs, each figure with its Monte-Carlo error.

True nulls are the arms with δ = 0, findings the others. Studies are independent; the arms of one study are
not, so shares over arms get their error from the spread between studies.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.simulate.methods import MethodResult
from orchestrator.stats.descriptions import clopper_pearson

_Z95 = 1.959964


@dataclass(frozen=True)
class Figure:
    """An estimate from simulated studies: value, standard error (None where it has none), 95 % interval."""

    value: float
    se: float | None
    lo: float
    hi: float


@dataclass(frozen=True)
class Summary:
    """One method on one scenario. Figures that the scenario does not have (power without findings) are None.

    `cost`: trained length over the grid's; `fwer`: studies with a true null declared different; `wrong_sign`:
    studies with a finding declared different in the wrong direction; `power`: findings declared different in
    the right one; `coverage`: intervals of single arms that hold the truth, of those there are, and
    `worst_coverage` those of the worst arm; `false_coverage`: where some arms have none, the share of a
    study's intervals that miss, 0 without any, over all studies (the false coverage rate), None where all
    have one; `width`: median width of an interval; `equivalent`: arms truly within the margin that are
    declared so, `false_equivalent`: studies with an arm beyond the margin declared so; `beyond`: arms whose
    interval excludes 0 without a verdict; `kept`: studies whose reference is complete.
    """

    method: str
    studies: int
    cost: Figure
    fwer: Figure | None
    wrong_sign: Figure | None
    power: Figure | None
    coverage: Figure | None
    worst_coverage: Figure | None
    false_coverage: Figure | None
    width: Figure | None
    beyond: Figure | None
    equivalent: Figure | None
    false_equivalent: Figure | None
    kept: Figure


def share(hits: NDArray[np.bool_]) -> Figure:
    """Return the share of studies, shape (studies,), with its exact interval."""
    count, total = int(hits.sum()), int(hits.size)
    value = count / total
    return Figure(value, math.sqrt(value * (1 - value) / total), *clopper_pearson(count, total))


def mean(values: NDArray[np.float64]) -> Figure:
    """Return the mean over studies of shape (studies,); NaN (nothing to count in a study) is left out."""
    there = values[np.isfinite(values)]
    value = float(there.mean())
    se = float(there.std(ddof=1)) / math.sqrt(there.size) if there.size > 1 else None
    half = math.inf if se is None else _Z95 * se
    return Figure(value, se, value - half, value + half)


def median(values: NDArray[np.float64]) -> Figure:
    """Return the median over studies, arms pooled; its interval is that of order statistics."""
    there = np.sort(values[np.isfinite(values)])
    spread = _Z95 * math.sqrt(there.size) / 2
    low = max(0, math.floor(there.size / 2 - spread))
    high = min(there.size - 1, math.ceil(there.size / 2 + spread))
    return Figure(float(np.median(there)), None, float(there[low]), float(there[high]))


def summarise(
    method: str, judged: Sequence[MethodResult], delta: Sequence[float], margin: float | None = None
) -> Summary:
    """Count over studies that were judged by one method; `delta`: the true effect of each arm."""
    truth = np.array(delta)
    signs = np.stack([one.signs for one in judged])
    lo, hi = np.stack([one.lo for one in judged]), np.stack([one.hi for one in judged])
    nulls, findings = truth == 0, truth != 0
    right, wrong = signs == np.sign(truth), signs == -np.sign(truth)
    seen = np.isfinite(lo) & np.isfinite(hi)
    excluding_0 = (lo > 0) | (hi < 0)
    beyond = np.where(np.isfinite(lo), (signs == 0) & excluding_0, np.nan)
    covered = np.where(seen, (lo <= truth) & (truth <= hi), np.nan).astype(np.float64)
    by_arm = [mean(covered[:, arm]) for arm in range(truth.size) if seen[:, arm].any()]
    return Summary(
        method=method,
        studies=len(judged),
        cost=mean(np.array([one.cost for one in judged])),
        fwer=share((signs[:, nulls] != 0).any(axis=1)) if nulls.any() else None,
        wrong_sign=share(wrong[:, findings].any(axis=1)) if findings.any() else None,
        power=mean(right[:, findings].mean(axis=1)) if findings.any() else None,
        coverage=mean(_row_means(covered)) if by_arm else None,
        worst_coverage=min(by_arm, key=lambda figure: figure.value, default=None),
        false_coverage=None if seen.all() else mean(np.nan_to_num(1 - _row_means(covered))),
        width=median((hi - lo).ravel()) if by_arm else None,
        beyond=mean(_row_means(beyond)) if by_arm else None,
        **_equivalence(np.stack([one.equivalent for one in judged]), truth, margin),
        kept=share(np.array([one.kept for one in judged])),
    )


def _equivalence(
    called: NDArray[np.bool_], truth: NDArray[np.float64], margin: float | None
) -> dict[str, Figure | None]:
    if margin is None:
        return {"equivalent": None, "false_equivalent": None}
    within = np.abs(truth) < margin
    return {
        "equivalent": mean(called[:, within].mean(axis=1)) if within.any() else None,
        "false_equivalent": share(np.any(called[:, ~within], axis=1)) if not within.all() else None,
    }


def _row_means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means of the numbers in each row; NaN for a row without one."""
    return np.ma.masked_invalid(values).mean(axis=1).filled(np.nan)  # type: ignore[no-any-return]
