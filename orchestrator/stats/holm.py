"""Holm's correction: the chance of any false claim in the family stays below the level."""

from __future__ import annotations

from collections.abc import Sequence


def holm(p_values: Sequence[float | None]) -> tuple[float | None, ...]:
    """Adjusted p-values in the order given; reject those at or below the family's level.

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
