"""Rungs: the lengths at which a trial is compared with the others."""

from __future__ import annotations

from collections.abc import Iterable


def rungs(grace: float, reduction: float, maximum: float) -> tuple[float, ...]:
    """`grace · reduction^i` below `maximum`, ascending, in the study's unit; whole numbers stay `int`.

    Empty when `grace` reaches `maximum`. Raises `ValueError` unless `grace > 0` and `reduction > 1`.
    """
    if not grace > 0 or not reduction > 1:
        raise ValueError(f"rungs need grace > 0 and reduction > 1, got {grace} and {reduction}")
    found: list[float] = []
    rung = grace
    while rung < maximum:
        found.append(int(rung) if float(rung).is_integer() else rung)
        rung = grace * reduction ** len(found)
    return tuple(found)


def highest_rung(rungs: Iterable[float], length: float, above: float | None = None) -> float | None:
    """The highest rung at or below `length` and beyond `above`; None when no new rung was reached.

    A trial that reports rarely may pass several rungs at once: it counts at the highest of them.
    """
    reached = [rung for rung in rungs if rung <= length and (above is None or rung > above)]
    return max(reached, default=None)
