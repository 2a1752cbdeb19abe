"""What pairing by seed was worth: measured, never assumed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from orchestrator.stats.claims import finite


@dataclass(frozen=True)
class Pairing:
    """`rho`: correlation of two arms over the seeds they share (intraclass, from the additive fit).

    `variance_saved`: share of the variance of a difference that pairing took away (negative: pairing cost
    precision). Both are None where `seeds`, those that every arm has finished, are fewer than two.
    """

    rho: float | None
    variance_saved: float | None
    seeds: int
    arms: int


def pairing(reference: Mapping[int, float], arms: Mapping[str, Mapping[int, float]]) -> Pairing:
    """Estimate the worth of pairing from the seeds that every arm with data has finished."""
    rows = [row for row in (finite(values) for values in (reference, *arms.values())) if row]
    seeds = sorted(set(rows[0]).intersection(*rows[1:])) if rows else []
    a, n = len(rows), len(seeds)
    if a < 2 or n < 2 or not finite(reference):
        return Pairing(None, None, n, a)
    Y = np.array([[row[seed] for seed in seeds] for row in rows])  # noqa: N806 - arms × seeds
    with np.errstate(over="ignore", invalid="ignore"):
        residual = Y - Y.mean(axis=1, keepdims=True) - Y.mean(axis=0) + Y.mean()
        ms_seed = a * float(np.square(Y.mean(axis=0) - Y.mean()).sum()) / (n - 1)
        ms_res = float(np.square(residual).sum()) / ((a - 1) * (n - 1))
        total = ms_seed + (a - 1) * ms_res
        unpaired = float((Y[1:].var(axis=1, ddof=1) + Y[0].var(ddof=1)).sum())
        paired = float((Y[1:] - Y[0]).var(axis=1, ddof=1).sum())
    return Pairing(
        rho=(ms_seed - ms_res) / total if 0 < total < np.inf else None,
        variance_saved=1 - paired / unpaired if 0 < unpaired < np.inf else None,
        seeds=n,
        arms=a,
    )
