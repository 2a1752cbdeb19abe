"""Corrections for many hypotheses: Holm for claims, Benjamini-Hochberg for exploring."""

from __future__ import annotations

from collections.abc import Sequence


def holm(p_values: Sequence[float | None]) -> tuple[float | None, ...]:
    """Return adjusted p-values in the order given; reject those at or below the family's level.

    None is a hypothesis of the family that could not be tested (an arm without data). It stays None and
    still counts: otherwise a claim could vanish as soon as the missing runs arrive.
    """
    family = len(p_values)
    tested = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * family
    highest = 0.0
    for rank, (p, index) in enumerate(tested):
        highest = max(highest, min(1.0, (family - rank) * p))
        adjusted[index] = highest
    return tuple(adjusted)


def benjamini_hochberg(p_values: Sequence[float | None]) -> tuple[float | None, ...]:
    """q-values in the order given: the expected share of false ones among the claims; exploratory.

    What could not be tested stays None and still counts, as in `holm`.
    """
    family = len(p_values)
    tested = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * family
    lowest = 1.0
    for rank, (p, index) in reversed(list(enumerate(tested, start=1))):
        lowest = min(lowest, p * family / rank)
        adjusted[index] = lowest
    return tuple(adjusted)
