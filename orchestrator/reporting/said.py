"""What a study says about one effect, in words and numbers: the same in every form of the report."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from orchestrator.record.shared import DOUBTFUL_FLAG
from orchestrator.reporting import numbers, words
from orchestrator.reporting.devices import MIXED
from orchestrator.reporting.model import ArmReport, ReportedEvaluation, StudyReport, excludes_zero
from orchestrator.stats.results import (
    EQUIVALENT,
    FAILS,
    HELPS,
    HURTS,
    INTERACTS,
    NO_DATA,
    RESOLVED,
    RUNG_ONLY,
    SIZE_UNCLEAR,
    UNRESOLVED,
    Effect,
)


@dataclass(frozen=True)
class Style:
    """How a form marks names of components, and makes other text safe."""

    emphasise: Callable[[str], str] = str
    escape: Callable[[str], str] = str


PLAIN = Style()


class SaidEffect:
    """One effect, most of it as text. `planned`: seeds of its `runs`; `told`: even in a short form."""

    def __init__(self, report: StudyReport, evaluation: ReportedEvaluation, effect: Effect) -> None:
        self.report, self.evaluation, self.effect = report, evaluation, effect
        self.scale = report.scale
        self.runs = report.behind(effect, evaluation.phase)
        self.planned = len({run.seed for run in self.runs})
        self.resolved = effect.verdict in RESOLVED
        self.told = self.resolved or effect.verdict == FAILS
        self.folder = report.folder_of(effect)
        self.name = report.called(effect)
        self.delta = self.scale.delta(effect.delta)
        self.new_data = evaluation.new_data.get(effect.arm)
        self.interval = self.scale.interval(effect.lo, effect.hi)
        self.p, self.p_holm = numbers.p_value(effect.p), numbers.p_value(effect.p_holm)
        self.time = numbers.duration(math.fsum(run.wall_s for run in self.runs))
        self.gpu_h = f"{math.fsum(run.gpu_s for run in self.runs) / 3600:.3g}"

    @property
    def interval_of_new_data(self) -> str:
        """The interval for new seeds and new data; a dash where there is none."""
        found = self.new_data
        return numbers.DASH if found is None else self.scale.interval(found.lo, found.hi)

    @property
    def width(self) -> str:
        """How wide the interval is; a dash where there is none."""
        lo, hi = self.effect.lo, self.effect.hi
        return numbers.DASH if lo is None or hi is None else self.scale.number(hi - lo)

    @property
    def difference(self) -> str:
        """Δ with its interval, to be followed by something: `−8.7 pp [−8.9, −8.5], `; may be empty."""
        if self.effect.delta is None:
            return ""
        between = "" if self.effect.lo is None else f" {self.interval}"
        return f"{self.scale.amount(self.effect.delta, sign=True)}{between}, "

    @property
    def verdict(self) -> str:
        """The verdict with its marks and what happened to the runs: `hurts† (1 failed)`, `fails (5 of 5)`."""
        needed = self.effect.seeds_needed if self.effect.verdict == UNRESOLVED else None
        return self._verdict([] if needed is None else [f"needs ≈ {_about(needed)}"])

    @property
    def brief_verdict(self) -> str:
        """The verdict without the seeds that would be needed."""
        return self._verdict([])

    def _verdict(self, needs: list[str]) -> str:
        effect = self.effect
        if effect.verdict == FAILS:
            return f"fails ({words.failed(self.runs)} of {len(self.runs)})"
        told = (" failed", " stopped", "not finished", "noisy", MIXED, DOUBTFUL_FLAG)
        lost = [flag for flag in effect.flags if flag.endswith(told)] + needs
        lost += [words.HERE_ONLY] if words.here_only(self.evaluation, effect) else []
        said = f"{words.verdict(self.report, effect, self.scale)}{words.marks(effect)}"
        return f"{said} ({', '.join(lost)})" if lost else said

    def sentence(self, style: Style = PLAIN) -> str:
        """Return what the study says about the effect, as a sentence that can be quoted."""
        effect, runs, scale = self.effect, self.runs, self.scale
        subject = self._intervention(style.emphasise)
        if effect.delta is None:
            if effect.verdict == FAILS:
                seeds = words.count(len(runs), "seed")
                return f"{subject} fails ({words.failed(runs)} of {seeds}: {words.tally(runs)})."
            label = words.RUNG_ONLY_LABEL if effect.verdict == RUNG_ONLY else NO_DATA
            return f"{subject}: {label}; {self._why_nothing()}."
        seeds = f"n = {effect.n} of {words.count(self.planned, 'seed')}"
        metric = style.escape(self.report.metric)
        beyond = " beyond the sum of both" if effect.kind == "interaction" else ""
        change = f"{metric} differs by {scale.amount(effect.delta, sign=True)}{beyond}"
        if effect.verdict == RUNG_ONLY:
            return f"{subject}: {words.RUNG_ONLY_LABEL}; among the seeds that reached it {change} ({seeds})."
        if effect.p is None:
            return f"{subject}: {effect.verdict}; {change}, without an interval ({seeds})."
        if effect.verdict in (HURTS, HELPS, SIZE_UNCLEAR, INTERACTS):
            verb = "raises" if effect.delta > 0 else "lowers"
            said = f"{subject} {verb} {metric} by {scale.amount(abs(effect.delta))}{beyond}"
            text = f"{said} ({self._support(seeds, turned=effect.delta < 0, directed=True)})."
        else:
            verdict = words.verdict(self.report, effect, scale)
            text = f"{subject}: {verdict}; {change} ({self._support(seeds)})."
        return " ".join([text, *self._remarks()])

    def _intervention(self, emphasise: Callable[[str], str]) -> str:
        """Return what was done to the recipe: `Removing *batchnorm*`."""
        effect = self.effect
        if effect.kind == "interaction":
            both = (self.report.labels.get(name, name) for name in components_of(effect))
            names = " and ".join(map(emphasise, both))
            removed = all(part.startswith("no-") for part in effect.arm.split("+"))
            return f"{'Removing' if removed else 'Changing'} {names} together"
        arm = self.report.arm(effect.arm)
        name = (arm.component if arm else None) or next(iter(effect.components), None)
        kind = arm.kind if arm else "without" if effect.arm == f"no-{name}" else "swap"
        if name is None or kind not in ("only", "swap", "without"):
            return f"Arm {emphasise(effect.arm)}"
        called = self.report.labels.get(name, name)
        if kind == "swap":
            other = effect.arm.removeprefix(f"{name}=")
            if arm is not None and arm.label is not None:
                other = arm.label.removeprefix(f"{called}: ")
            return f"Exchanging {emphasise(called)} for {emphasise(other)}"
        return f"{'Adding' if kind == 'only' else 'Removing'} {emphasise(called)}"

    def _why_nothing(self) -> str:
        if self.runs:
            return f"no pair of runs reached full length ({words.tally(self.runs)})"
        if self.report.tuned and self.report.complete:
            return "nothing was run, because no sample of its search reached full length"
        return "nothing has been run yet"

    def _support(self, seeds: str, *, turned: bool = False, directed: bool = False) -> str:
        """Interval, n and p. `directed`: the sentence names the direction, so the interval is of the size."""
        effect, scale = self.effect, self.scale
        lo, hi = effect.lo or 0.0, effect.hi or 0.0
        lo, hi = (-hi, -lo) if turned else (lo, hi)
        signed = lo < 0 or not directed
        between = " to " if signed or scale.scientific else "–"
        interval = between.join(scale.number(end, sign=signed) for end in (lo, hi))
        tost = effect.verdict == EQUIVALENT and effect.p_equivalent is not None
        p = numbers.equals(effect.p_equivalent if tost else effect.p_holm)
        name = words.interval_name(self.report, effect.kind)
        return f"{name} {interval} for new seeds; {seeds}; {'TOST' if tost else 'Holm'} p {p}"

    def _remarks(self) -> list[str]:
        """Return what must be said behind the numbers so that they are read rightly."""
        report, effect, remarks = self.report, self.effect, []
        if effect.verdict == SIZE_UNCLEAR and report.margin is not None:
            margin = self.scale.amount(report.margin)
            remarks.append(f"Different, but whether by more than {margin} is unclear.")
        if effect.early and self.resolved:
            lean = "" if effect.verdict == EQUIVALENT else "; early-stopped effects lean large"
            remarks.append(f"Stopped early because resolved{lean}.")
        if effect.verdict == UNRESOLVED and effect.early:
            remarks.append("Given up early: the seeds that were left would hardly have resolved it.")
        if effect.verdict == UNRESOLVED and effect.seeds_needed is not None:
            remarks.append(f"About {_about(effect.seeds_needed)} would be needed.")
        if not self.resolved and excludes_zero(effect):
            said = f"The interval of this arm alone excludes 0; among {self._family()} that is not enough."
            remarks.append(said)
        if self.new_data is not None:
            remarks.append(words.of_new_data(self.report, self.evaluation, effect, self.new_data))
        if "moderated only" in effect.flags:
            remarks.append("Only the moderated test rejects, the plain paired t does not.")
        return remarks

    def _family(self) -> str:
        """`10 arms`: how many effects are corrected together with this one."""
        if self.effect.kind == "interaction":
            return words.count(len(self.evaluation.interactions), "interaction")
        mine = (family for family in self.evaluation.families if self.effect.arm in family)
        return words.count(len(next(mine, self.evaluation.effects)), "arm")


def said(report: StudyReport, evaluation: ReportedEvaluation, effects: Iterable[Effect]) -> list[SaidEffect]:
    """Return these effects of an evaluation in words, the largest first."""
    return [SaidEffect(report, evaluation, effect) for effect in report.ordered(effects)]


class Levels:
    """The arms of an evaluation in absolute numbers: mean ± SD of the metric, then of those beside it.

    `heads`: of the columns; `in_rows`: whether each effect is the difference of one arm from the reference,
    so that its arm's numbers can stand in its row; else they need a table of their own.
    """

    def __init__(self, report: StudyReport, evaluation: ReportedEvaluation) -> None:
        self.report, self.evaluation = report, evaluation
        self.in_rows = not report.averaged
        scales = {report.metric: report.scale} | {
            name: numbers.column_scale(name, samples.values()) for name, samples in evaluation.beside.items()
        }
        self.heads = [f"{numbers.one_line(name)}{scale.of_levels}" for name, scale in scales.items()]
        self._scales = list(scales.values())

    def of(self, arm: str) -> list[str]:
        """Return the columns of one arm."""
        samples = [one.get(arm) for one in (self.evaluation.samples, *self.evaluation.beside.values())]
        return [numbers.level(scale, one) for scale, one in zip(self._scales, samples, strict=True)]

    @property
    def reference(self) -> list[str]:
        """The columns of the reference."""
        return self.of(self.report.reference.arm)

    @property
    def n(self) -> str:
        """How many runs of the reference have finished, of those planned."""
        name = self.report.reference.arm
        return f"{self.evaluation.samples[name].n}/{len(self.report.reference.of(self.evaluation.phase))}"

    def arms(self) -> list[tuple[ArmReport, list[str]]]:
        """Return every arm with its columns, the reference first, then as the effects are ordered."""
        place = {one.arm: n for n, one in enumerate(self.report.ordered(self.evaluation.effects))}
        others = sorted(self.report.arms, key=lambda arm: place.get(arm.arm, len(place)))
        found = [(arm, self.of(arm.arm)) for arm in (self.report.reference, *others)]
        return [(arm, columns) for arm, columns in found if arm.of(self.evaluation.phase)]


def _about(seeds: int) -> str:
    """Return an estimate without the digits that it does not have: two are enough."""
    return words.count(seeds if seeds < 100 else int(float(f"{seeds:.2g}")), "seed")


def components_of(effect: Effect) -> tuple[str, ...]:
    """Return the components that an effect is about; from its name where it does not say."""
    return effect.components or tuple(part.removeprefix("no-") for part in effect.arm.split("+"))


def by_pair(evaluation: ReportedEvaluation) -> tuple[list[str], list[tuple[int, int, Effect]]]:
    """Return components, and the interactions of two that have a Δ: row and column among them, both ways."""
    found = {components_of(effect): effect for effect in evaluation.interactions if effect.delta is not None}
    pairs = {pair: effect for pair, effect in found.items() if len(pair) == 2}
    names = list(dict.fromkeys(name for pair in pairs for name in pair))
    places = [([names.index(name) for name in pair], effect) for pair, effect in pairs.items()]
    return names, [(*way, effect) for (a, b), effect in places for way in ((a, b), (b, a))]


def spreads(report: StudyReport, evaluation: ReportedEvaluation) -> list[tuple[str, float, float | None]]:
    """Return the arms whose SD over seeds is known: name, that SD, and SD(D)/√2, as `Scale` writes them.

    The second one is that of the paired differences as if they were single runs; None without them.
    """
    factor = report.scale.factor
    paired = {effect.arm: effect.sd for effect in evaluation.effects if not report.averaged}
    halves = {arm: sd / math.sqrt(2) * factor for arm, sd in paired.items() if sd is not None}
    samples = evaluation.samples.values()
    return [(one.arm, one.sd * factor, halves.get(one.arm)) for one in samples if one.sd is not None]
