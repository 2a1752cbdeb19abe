"""Numbers as text: how a report writes values, differences, p, times and lengths, the same in every form."""

from __future__ import annotations

import math
import re
import statistics
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.reporting.model import StudyReport
    from orchestrator.stats.results import Sample

_SHARES = frozenset({"acc", "accuracy", "precision", "recall", "sensitivity", "specificity", "top1", "top5"})
DASH = "–"
_UNITS = {None: (1.0, ""), 1: (100.0, "pp"), 100: (1.0, "pp")}
"""What a share is a share of: factor and unit of differences."""
_LARGE, _MOST_COUNTED = 1e7, 1e13
"""From here on numbers are written with an exponent, counts (parameters, bytes) too."""


@dataclass(frozen=True)
class Scale:
    """How numbers of a metric are written: times `factor`, differences with `unit` behind them.

    `counts`: they are whole numbers, and keep all of their digits.
    """

    factor: float
    unit: str
    decimals: int
    scientific: bool
    counts: bool = False

    @property
    def of_levels(self) -> str:
        """The unit of absolute numbers behind their name: ` (%)` where differences are in points of it."""
        return " (%)" if self.unit == "pp" else ""

    @property
    def in_brackets(self) -> str:
        """The unit behind the name of what is measured in it: ` (pp)`, or nothing."""
        return f" ({self.unit})" if self.unit else ""

    def number(self, value: float, *, sign: bool = False) -> str:
        """Return a difference without its unit; `sign` writes + and −."""
        if self.counts and not sign:
            return f"{value:,.0f}".replace("-", "−")
        return _written(value * self.factor, self.decimals, self.scientific, sign)

    def amount(self, value: float, *, sign: bool = False) -> str:
        """Return a difference with its unit."""
        return f"{self.number(value, sign=sign)} {self.unit}".rstrip()

    def delta(self, value: float | None) -> str:
        """`−1.8`; a dash where there is none."""
        return DASH if value is None else self.number(value, sign=True)

    def interval(self, lo: float | None, hi: float | None) -> str:
        """`[−2.4, −1.2]`; a dash where one end is missing."""
        return DASH if lo is None or hi is None else f"[{self.delta(lo)}, {self.delta(hi)}]"

    def value(self, value: float | None) -> str:
        """Return a value of the metric itself, in its own units; a dash where there is none."""
        if value is None:
            return DASH
        return _written(value, self.decimals + (2 if self.factor == 100 else 0), self.scientific, False)


def _written(value: float, decimals: int, scientific: bool, sign: bool) -> str:
    if not math.isfinite(value):
        return str(value)
    form = f".{1 if scientific else decimals}e" if scientific or abs(value) >= _LARGE else f".{decimals}f"
    text = f"{value:{'+' if sign else ''}{form}}"
    if not text.strip("+-0."):  # a rounded zero has no direction
        text = text.replace("-", "").replace("+", "")
    return re.sub(r"e([+-])0*(?=\d)", r"e\1", text).replace("-", "−").replace("e+", "e")


def better(report: StudyReport) -> str:
    """`higher` or `lower`: which values of the metric are better."""
    return "higher" if report.mode == "max" else "lower"


def scale_of(report: StudyReport) -> Scale:
    """Percentage points where the metric is a share such as an accuracy, plain units otherwise."""
    finite = list(_values(report).values())
    factor, unit = _UNITS[_whole(report.metric, finite)]
    effects = [effect for evaluation in report.evaluations for effect in evaluation.all_effects]
    widths = [
        (effect.hi - effect.lo) / 2 for effect in effects if effect.hi is not None and effect.lo is not None
    ]
    sizes = [size for size in widths if size > 0] or [abs(effect.delta) for effect in effects if effect.delta]
    sizes = sizes or (
        [abs(statistics.median(finite)) / 100] if finite and statistics.median(finite) else [1.0]
    )
    typical = _magnitude(statistics.median(sizes) * factor)
    finest = _magnitude(min(sizes) * factor)  # a very precise arm must not read as 0.0 [0.0, 0.0]
    decimals = min(6, max(0, 1 - max(finest, typical - 2)))
    return Scale(factor, unit, decimals, not -5 < typical < 6)


def scale_of_curves(report: StudyReport) -> Scale:
    """Return the unit of differences of the metric that curves are of."""
    curves = [curve for evaluation in report.evaluations for curve in evaluation.curves]
    factor, unit = _UNITS[_whole(report.followed, [mean for curve in curves for mean in curve.mean])]
    return replace(report.scale, factor=factor, unit=unit)


def level(scale: Scale, sample: Sample | None) -> str:
    """`91.0 ± 1.0`: mean and standard deviation over the seeds of an arm; a dash without a run."""
    if sample is None or sample.mean is None:
        return DASH
    if sample.sd is None or (sample.sd == 0 and scale.counts):
        return scale.number(sample.mean)
    return f"{scale.number(sample.mean)} ± {scale.number(sample.sd)}"


def column_scale(metric: str, samples: Iterable[Sample]) -> Scale:
    """How the means of a column are written: two digits of a typical spread, counts with all of theirs."""
    found = [one for one in samples if one.mean is not None and math.isfinite(one.mean)]
    means = [one.mean for one in found if one.mean is not None]
    spreads = [one.sd for one in found if one.sd is not None and 0 < one.sd < math.inf]
    factor, unit = _UNITS[_whole(metric, means)]
    largest = max(map(abs, means), default=0.0)
    if not spreads and largest < _MOST_COUNTED and all(mean.is_integer() for mean in means):
        return Scale(factor, unit, 0, False, counts=True)
    finest = _magnitude((statistics.median(spreads) if spreads else largest / 1000) * factor)
    return Scale(factor, unit, min(6, max(0, 1 - finest)), largest >= _LARGE or finest < -5)


def out_of_range(report: StudyReport) -> list[str]:
    """Name the runs whose values are no shares in a metric that is one by its name and its other values."""
    values = _values(report)
    whole = _whole(report.metric, list(values.values()))
    odd = [f"{run} ({value:g})" for run, value in values.items() if whole and not 0 <= value <= whole]
    if not odd:
        return []
    named = ", ".join(odd[:5]) + (f" and {len(odd) - 5} more" if len(odd) > 5 else "")
    return [
        f"{report.metric} is read as a share from 0 to {whole}, as most of its values are, and differences "
        f"are in percentage points; {named} cannot be one. Percentages among shares spoil effects."
    ]


def _values(report: StudyReport) -> dict[str, float]:
    """Return the values that enter effects, by the names of their runs."""
    runs = [run for arm in report.all_arms for run in arm.runs if run.used and run.phase != "tune"]
    return {run.name: run.value for run in runs if run.value is not None}


def _whole(metric: str, values: list[float]) -> Literal[1, 100] | None:
    """Return what a metric that is a share is a share of, 1 or 100: most of its values decide, not all."""
    if not values or not _SHARES & set(re.split(r"[^a-z0-9]+", metric.lower())):
        return None
    typical = statistics.median(values)
    return 1 if 0 <= typical <= 1 else 100 if 1 < typical <= 100 else None


def _magnitude(size: float) -> int:
    return math.floor(math.log10(size) + 1e-9) if 0 < size < math.inf else 0


def p_value(p: float | None) -> str:
    """`.002`, `< .001`, `1`; a dash where there is none."""
    if p is None:
        return DASH
    if p < 0.001:
        return "< .001"
    text = f"{p:.3f}"
    return text.removeprefix("0") if text < "1" else "1"


def equals(p: float | None) -> str:
    """`= .002`, `< .001`: a p behind its name."""
    text = p_value(p)
    return text if text.startswith("<") else f"= {text}"


def share(value: float | None) -> str:
    """`12 %` of a share between −1 and 1; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return DASH
    return f"{100 * value:.0f} %".replace("-", "−")


def confidence(report: StudyReport) -> str:
    """`95 %`."""
    return f"{100 * (1 - report.alpha):.4g} %"


def duration(seconds: float) -> str:
    """`45 s`, `12 min`, `3.4 h`; less than a tenth of a second is not worth its digits."""
    if 0 < seconds < 0.1:
        return "< 0.1 s"
    if seconds < 120:
        return f"{seconds:.3g} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def quantity(value: float, unit: str) -> str:
    """Return a length with its unit: `1 epoch`, `1.5 epochs`."""
    plural = "" if value == 1 or unit == "seconds" else "s"
    return f"{value:g} {unit}{plural}"


def one_line(text: str | None, limit: int = 300) -> str:
    """Return first line with content, free of control characters (reasons quote other people's errors)."""
    for line in (text or "").splitlines():
        clean = "".join(c for c in re.sub(r"\x1b\[[0-9;?]*[ -/]*[@-~]", "", line) if c.isprintable()).strip()
        if clean:
            return clean if len(clean) <= limit else clean[: limit - 1] + "…"
    return ""
