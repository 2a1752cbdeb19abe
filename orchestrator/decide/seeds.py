"""Does the entrypoint use its seed? Two seeds of the reference arm must not give the same curve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

_ENOUGH_REPORTS = 3
_COUNTERS = frozenset({"epoch", "step", "report", "attempt", "lr", "learning_rate"})


def _is_time(key: str) -> bool:
    last = key.rsplit("/", 1)[-1]
    return last in ("time", "seconds") or last.endswith(("_s", "_seconds", "per_second"))


def _numbers(row: Mapping[str, Any]) -> dict[str, str]:
    """Return what was measured as exact text, so that NaN equals NaN, and 0.0 is not -0.0."""
    return {
        key: float(value).hex()
        for key, value in row.items()
        if isinstance(value, Real) and not isinstance(value, bool) and not _is_time(key)
    }


def same_numbers(curve_a: Sequence[Mapping[str, Any]], curve_b: Sequence[Mapping[str, Any]]) -> bool:
    """Tell whether two curves say the same, bit for bit, but for times."""
    return [_numbers(row) for row in curve_a] == [_numbers(row) for row in curve_b]


def ignores_seed(
    curve_a: Sequence[Mapping[str, Any]], curve_b: Sequence[Mapping[str, Any]], *, ended: bool = False
) -> bool:
    """Tell whether two trials that differ in the seed only have, as far as one can tell, the same curve.

    Each curve is the list of reports, `{metric: value}`; `ended` says that both trials are complete. Before
    that, three common reports are needed and something must have moved: a metric that stays at its
    starting value proves nothing. Times are never compared; counters and the learning rate are no
    measurement.
    """
    common = min(len(curve_a), len(curve_b))
    if common == 0 or (ended and len(curve_a) != len(curve_b)) or (not ended and common < _ENOUGH_REPORTS):
        return False
    if not same_numbers(curve_a[:common], curve_b[:common]):
        return False
    first = [_numbers(row) for row in curve_a[:common]]
    counters = {key for row in first for key in row if key.rsplit("/", 1)[-1] in _COUNTERS}
    measured = [{key: value for key, value in row.items() if key not in counters} for row in first]
    if not any(measured):
        return False
    return ended or any(row != measured[0] for row in measured)
