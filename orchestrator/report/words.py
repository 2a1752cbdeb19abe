"""Numbers and sentences: how a report speaks, the same in every form."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.decide.states import TrialState
from orchestrator.report.model import FAILS, RUNG_ONLY, ArmReport, Run, StudyReport
from orchestrator.stats.effects import HELPS, HURTS, NO_DATA, Effect

_SHARES = frozenset({"acc", "accuracy", "precision", "recall", "sensitivity", "specificity", "top1", "top5"})
_DASH = "–"
RUNG_ONLY_LABEL = "rung-only, no claim at full length"


@dataclass(frozen=True)
class Scale:
    """How differences of the study's metric are written: times `factor`, with `unit` behind them."""

    factor: float
    unit: str
    decimals: int
    scientific: bool

    def number(self, value: float, *, sign: bool = False) -> str:
        """A difference without its unit; `sign` writes + and −."""
        return _written(value * self.factor, self.decimals, self.scientific, sign)

    def amount(self, value: float, *, sign: bool = False) -> str:
        """A difference with its unit."""
        return f"{self.number(value, sign=sign)} {self.unit}".rstrip()

    def value(self, value: float) -> str:
        """A value of the metric itself, in its own units."""
        return _written(value, self.decimals + (2 if self.factor == 100 else 0), self.scientific, False)


def _written(value: float, decimals: int, scientific: bool, sign: bool) -> str:
    if not math.isfinite(value):
        return str(value)
    form = f".{1 if scientific else decimals}e" if scientific or abs(value) >= 1e7 else f".{decimals}f"
    text = f"{value:{'+' if sign else ''}{form}}"
    if not text.strip("+-0."):  # a rounded zero has no direction
        text = text.replace("-", "").replace("+", "")
    return re.sub(r"e([+-])0*(?=\d)", r"e\1", text).replace("-", "−").replace("e+", "e")


def scale_of(report: StudyReport) -> Scale:
    """Percentage points where the metric is a share such as an accuracy, plain units otherwise."""
    values = [run.value for arm in (report.reference, *report.arms) for run in arm.runs if run.used]
    finite = [value for value in values if value is not None]
    factor, unit = 1.0, ""
    if _SHARES & set(re.split(r"[^a-z0-9]+", report.metric.lower())) and finite and min(finite) >= 0:
        if max(finite) <= 1:
            factor, unit = 100.0, "pp"
        elif max(finite) <= 100:
            unit = "pp"
    widths = [
        (effect.hi - effect.lo) / 2
        for effect in report.effects
        if effect.hi is not None and effect.lo is not None
    ]
    sizes = [size for size in widths if size > 0] or [
        abs(effect.delta) for effect in report.effects if effect.delta
    ]
    sizes = sizes or (
        [abs(statistics.median(finite)) / 100] if finite and statistics.median(finite) else [1.0]
    )
    typical = _magnitude(statistics.median(sizes) * factor)
    finest = _magnitude(min(sizes) * factor)  # a very precise arm must not read as 0.0 [0.0, 0.0]
    decimals = min(6, max(0, 1 - max(finest, typical - 2)))
    return Scale(factor, unit, decimals, not -5 < typical < 6)


def _magnitude(size: float) -> int:
    return math.floor(math.log10(size) + 1e-9) if 0 < size < math.inf else 0


def p_value(p: float | None) -> str:
    """`.002`, `< .001`, `1`; a dash where there is none."""
    if p is None:
        return _DASH
    if p < 0.001:
        return "< .001"
    text = f"{p:.3f}"
    return text.removeprefix("0") if text < "1" else "1"


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
    """A length with its unit: `1 epoch`, `1.5 epochs`."""
    plural = "" if value == 1 or unit == "seconds" else "s"
    return f"{value:g} {unit}{plural}"


def one_line(text: str | None, limit: int = 300) -> str:
    """The first line with content, free of control characters (reasons quote other people's errors)."""
    for line in (text or "").splitlines():
        clean = "".join(c for c in re.sub(r"\x1b\[[0-9;?]*[ -/]*[@-~]", "", line) if c.isprintable()).strip()
        if clean:
            return clean if len(clean) <= limit else clean[: limit - 1] + "…"
    return ""


def outcome(run: Run) -> str:
    """What became of a run: `failed (oom)`, `stopped`, `done, no value`."""
    if run.state is TrialState.DONE and not run.used:
        return "done, no finite value"
    return f"{run.state} ({run.cause})" if run.cause else str(run.state)


def tally(arm: ArmReport) -> str:
    """`3 done, 2 failed`: the arm's runs by state."""
    counts = [(arm.count(state), state) for state in TrialState]
    return ", ".join(f"{count} {state}" for count, state in counts if count)


def headline(report: StudyReport) -> list[str]:
    """What must be read before any number."""
    lines = []
    if not report.complete:
        left = report.total - report.ended
        lines.append(f"incomplete: {report.ended} of {report.total} cells have ended, {left} are left")
    if report.tier == RUNG_ONLY:
        lines.append(f"{RUNG_ONLY_LABEL}: unpromising runs were stopped by rule {report.rule}")
    return lines


def cost_line(report: StudyReport) -> str:
    """What was spent, and what of the grid was saved."""
    cost = report.cost
    gpu = f"{cost.gpu_s / 3600:.3g} GPU-hours" if cost.gpu_s else "no GPU"
    saved = f"; {100 * cost.saved:.0f} % saved by early stops" if cost.saved else ""
    trained = f"trained {cost.spent:g} of the grid's {quantity(cost.grid, report.unit)}"
    return f"{duration(cost.wall_s)} of trials, {gpu}; {trained}{saved}"


def pairing_line(report: StudyReport) -> str | None:
    """What pairing by seed was worth; None where it cannot be measured."""
    found = report.pairing
    if found.rho is None or found.variance_saved is None or report.tier == RUNG_ONLY:
        return None
    saved = f"saved {100 * found.variance_saved:.0f} %" if found.variance_saved >= 0 else "saved none"
    return f"pairing by seed {saved} of a difference's variance (ρ̂ = {found.rho:.2f}, {found.seeds} seeds)"


def intervention(arm: ArmReport, emphasise: Callable[[str], str] = str) -> str:
    """What was done to the recipe: `Removing *batchnorm*`."""
    component = emphasise(arm.component or arm.arm)
    if arm.kind == "without":
        return f"Removing {component}"
    if arm.kind == "only":
        return f"Adding {component}"
    if arm.kind == "swap" and arm.component:
        return f"Exchanging {component} for {emphasise(arm.arm.removeprefix(f'{arm.component}='))}"
    return f"Arm {emphasise(arm.arm)}"


def sentence(
    report: StudyReport,
    arm: ArmReport,
    scale: Scale,
    emphasise: Callable[[str], str] = str,
    escape: Callable[[str], str] = str,
) -> str:
    """What the study says about one arm, as a sentence that can be quoted.

    `emphasise` marks the names of components, `escape` makes the metric's name safe for the form.
    """
    effect = arm.effect
    if effect is None:
        raise ValueError(f"{arm.arm} is the reference: it has no effect")
    subject, total = intervention(arm, emphasise), len(arm.runs)
    seeds = f"n = {effect.n} of {total} seed{'' if total == 1 else 's'}"
    if effect.delta is None:
        if effect.verdict == FAILS:
            return f"{subject} fails ({arm.failed} of {total} seeds: {tally(arm)})."
        label = RUNG_ONLY_LABEL if effect.verdict == RUNG_ONLY else NO_DATA
        return f"{subject}: {label}; no pair of runs reached full length ({tally(arm)})."
    metric = escape(report.metric)
    change = f"{metric} differs by {scale.amount(effect.delta, sign=True)}"
    if effect.verdict == RUNG_ONLY:
        return f"{subject}: {RUNG_ONLY_LABEL}; among the seeds that reached it {change} ({seeds})."
    if effect.p is None:
        return f"{subject}: {effect.verdict}; {change}, without an interval ({seeds})."
    if effect.verdict in (HURTS, HELPS):
        verb = "raises" if effect.delta > 0 else "lowers"
        change = f"{verb} {metric} by {scale.amount(abs(effect.delta))}"
        return f"{subject} {change} ({_support(report, effect, scale, seeds, flip=effect.delta < 0)})."
    text = f"{subject}: {effect.verdict}; {change} ({_support(report, effect, scale, seeds)})."
    if effect.lo is not None and effect.hi is not None and (effect.lo > 0 or effect.hi < 0):
        text += (
            f" The interval of this arm alone excludes 0; among {len(report.arms)} arms that is not enough."
        )
    return text


def _support(report: StudyReport, effect: Effect, scale: Scale, seeds: str, flip: bool = False) -> str:
    """Interval, n and p. `flip`: the sentence has named the direction, so the interval is of the size."""
    lo, hi = effect.lo or 0.0, effect.hi or 0.0
    if flip:
        lo, hi = -hi, -lo
    signed = lo < 0 or effect.verdict not in (HURTS, HELPS)
    ends = (scale.number(lo, sign=signed), scale.number(hi, sign=signed))
    interval = f"{ends[0]} to {ends[1]}" if signed or scale.scientific else f"{ends[0]}–{ends[1]}"
    p = p_value(effect.p_holm)
    return f"{confidence(report)} CI {interval}; {seeds}; Holm p {p if p.startswith('<') else f'= {p}'}"


def interval(effect: Effect, scale: Scale) -> str:
    """`[−2.4, −1.2]`; a dash where there is none."""
    if effect.lo is None or effect.hi is None:
        return _DASH
    return f"[{scale.number(effect.lo, sign=True)}, {scale.number(effect.hi, sign=True)}]"


def verdict(arm: ArmReport) -> str:
    """The verdict with what happened to the runs behind it: `hurts (1 failed)`, `fails (5 of 5)`."""
    if arm.effect is None:
        return "reference"
    if arm.effect.verdict == FAILS:
        return f"fails ({arm.failed} of {len(arm.runs)})"
    lost = [flag for flag in arm.effect.flags if flag.endswith((" failed", " stopped"))]
    return f"{arm.effect.verdict} ({', '.join(lost)})" if lost else arm.effect.verdict


def reference_line(report: StudyReport, scale: Scale) -> str:
    """The reference arm: mean, standard deviation over seeds, n."""
    sample = report.reference.summary
    if sample.mean is None:
        return f"{sample.arm}: no finished run yet ({tally(report.reference)})"
    spread = "" if sample.sd is None else f", SD {scale.value(sample.sd)}"
    return f"{sample.arm}: mean {scale.value(sample.mean)}{spread}, n = {sample.n}"


def caption(report: StudyReport) -> str:
    """What the columns of the effect table mean."""
    text = f"Δ = arm − {report.reference.arm}, mean over the seeds that both finished"
    if any(effect.p is not None for effect in report.effects):
        first, *later = [f"{len(family)} arm{'' if len(family) == 1 else 's'}" for family in report.families]
        family = f"{first} (and {', '.join(later)} added later)" if later else first
        text += f"; paired t, interval per arm; verdict: Holm p over {family} at most {report.alpha:g}"
    elif report.tier == RUNG_ONLY:
        text += "; no interval, because which seeds came this far depends on their results"
    return text
