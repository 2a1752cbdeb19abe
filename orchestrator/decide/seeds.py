"""Does the entrypoint use its seed? Two seeds of the reference arm must not give the same curve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

_ENOUGH_REPORTS = 3
_COUNTERS = frozenset({"epoch", "step", "report", "attempt", "lr", "learning_rate"})


def _is_time(key: str) -> bool:
    last = key.rsplit("/", 1)[-1]
    return last in ("time", "seconds") or last.endswith(("_s", "_seconds", "per_second"))


def _is_counter(key: str) -> bool:
    return key.rsplit("/", 1)[-1] in _COUNTERS


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


@dataclass
class SeedComparison:
    """Compares two curves that grow, each report once.

    `same`: leading reports that say the same; `differs`: a later one does not; `measured`: what the first of
    them has measured, None before it; `moved`: another one has measured something else.
    """

    same: int = 0
    differs: bool = False
    measured: dict[str, str] | None = None
    moved: bool = False

    def look(self, curve_a: Sequence[Mapping[str, Any]], curve_b: Sequence[Mapping[str, Any]]) -> None:
        """Go on with the reports that both curves have, up to one that differs."""
        common = min(len(curve_a), len(curve_b))
        while self.same < common and not self.differs:
            numbers = _numbers(curve_a[self.same])
            if numbers != _numbers(curve_b[self.same]):
                self.differs = True
                return
            found = {key: value for key, value in numbers.items() if not _is_counter(key)}
            self.measured = found if self.measured is None else self.measured
            self.moved = self.moved or found != self.measured
            self.same += 1

    def says_same(self, lengths: tuple[int, int], *, ended: bool) -> bool:
        """Whether the curves, which have these lengths, are the same as far as one can tell."""
        few = self.same == 0 or (not ended and self.same < _ENOUGH_REPORTS)
        if self.differs or few or (ended and lengths[0] != lengths[1]):
            return False
        return self.moved or (ended and bool(self.measured))


def ignores_seed(
    curve_a: Sequence[Mapping[str, Any]], curve_b: Sequence[Mapping[str, Any]], *, ended: bool = False
) -> bool:
    """Tell whether two trials that differ in the seed only have, as far as one can tell, the same curve.

    Each curve is the list of reports, `{metric: value}`; `ended` says that both trials are complete. Before
    that, three common reports are needed and something must have moved: a metric that stays at its
    starting value proves nothing. Times are never compared; counters and the learning rate are no
    measurement.
    """
    found = SeedComparison()
    found.look(curve_a, curve_b)
    return found.says_same((len(curve_a), len(curve_b)), ended=ended)
