"""The report as data. Every form draws the same `StudyReport`; none of them computes.

Values and effects are in the metric's own units, lengths in the study's unit, times in seconds, paths
relative to the study's directory. What could not be computed is None.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from orchestrator.decide.states import TrialState
from orchestrator.record.shared import SharedFile
from orchestrator.record.state import TrialRecord
from orchestrator.reporting.numbers import Scale, scale_of, scale_of_curves
from orchestrator.stats.between import Gap
from orchestrator.stats.newdata import NewData
from orchestrator.stats.pairing import Pairing
from orchestrator.stats.results import EQUIVALENT, RESOLVED, SIZE_UNCLEAR, Effect, Mode, Sample
from orchestrator.study.methods import Paragraph
from orchestrator.study.registered import DESIGNS, Tier
from orchestrator.study.spec import Phase

_TOLD = (TrialState.DONE, TrialState.STOPPED, TrialState.DIVERGED)
"""Ends that say something about an arm's metric."""


@dataclass(frozen=True)
class ArmReport:
    """One arm with all its runs, those of the search included.

    `kind`, `component`, `why`: as in `study.designs.Arm`, and kind "arm" where nobody says what was changed;
    `change`: dotted keys that it changes; `label`: how people call it, where the study says how.
    """

    arm: str
    kind: str
    component: str | None
    why: str | None
    change: Mapping[str, Any]
    runs: tuple[TrialRecord, ...]
    label: str | None = None

    @property
    def called(self) -> str:
        """What a table calls it."""
        return self.label or self.arm

    @property
    def trial_dir(self) -> str:
        """The directory of the arm's trials; empty where there is none any more."""
        there = next((run.trial_dir for run in self.runs if run.trial_dir), "")
        return "/".join(there.split("/")[:2])

    def of(self, phase: str) -> tuple[TrialRecord, ...]:
        """Return the runs of one phase, by seed."""
        return tuple(run for run in self.runs if run.phase == phase)


@dataclass(frozen=True)
class ReportedLook:
    """What the sequential rule decided for one arm at one look.

    `number`: the seeds of this look, `n` of them had a pair; `p` was compared with `level`; `power`: chance
    to resolve the arm at a later look.
    """

    arm: str
    number: int
    n: int
    delta: float | None
    lo: float | None
    hi: float | None
    p: float | None
    level: float | None
    power: float | None
    action: str


@dataclass(frozen=True)
class Curve:
    """Learning curve of one arm: mean over the seeds that came to each length, lo..hi is ±1 SD over them.

    All of the same length; `lo` and `hi` are None where fewer than two seeds are left.
    """

    arm: str
    lengths: tuple[float, ...]
    mean: tuple[float, ...]
    lo: tuple[float | None, ...]
    hi: tuple[float | None, ...]
    n: tuple[int, ...]

    @property
    def band(self) -> list[tuple[float, float, float]]:
        """Length, lo, hi, where there are two seeds or more."""
        ends = zip(self.lengths, self.lo, self.hi, strict=True)
        return [(x, lo, hi) for x, lo, hi in ends if lo is not None and hi is not None]


@dataclass(frozen=True)
class Crossing:
    """The mean Δ changes its sign between two rungs, over the `n` seeds that came to both."""

    before: float
    after: float
    n: int


@dataclass(frozen=True)
class DeltaCurve:
    """Δ of one arm at the rungs and at full length: what a comparison would have said there.

    `lo`, `hi`: mean ± 1 standard error (None below two pairs); `n`: pairs at each rung.
    """

    arm: str
    lengths: tuple[float, ...]
    delta: tuple[float, ...]
    lo: tuple[float | None, ...]
    hi: tuple[float | None, ...]
    n: tuple[int, ...]
    crossings: tuple[Crossing, ...]


@dataclass(frozen=True)
class ReportedEvaluation:
    """One comparison of the arms: with the study file's settings (fixed) or each arm's own winner (retuned).

    `samples`: the finished runs of every arm that was evaluated, the reference's first. `effects` and
    `interactions`: in the plan's order. `families`: names of main effects that are corrected together, first
    those of the first plan, then one family for each later extension; the interactions are a family of their
    own. `decisions`: looks in the order in which they were taken (rule resolve). `curves` and `deltas` are
    empty until `curves.with_curves` has read the metric tables. `mixed`: name of an effect -> seed ->
    the types of GPU, where the runs of that seed which it is made of were on more than one. `beside`: other
    metric -> arm -> its values where the runs counted: `metric.also`, and the one that only selects.
    `new_data`: name of an effect -> its interval for new seeds and new data, where the scores of the samples
    were kept (`newdata.with_new_data`).
    """

    phase: Phase
    samples: Mapping[str, Sample]
    effects: tuple[Effect, ...]
    interactions: tuple[Effect, ...]
    families: tuple[tuple[str, ...], ...]
    pairing: Pairing
    decisions: tuple[ReportedLook, ...] = ()
    curves: tuple[Curve, ...] = ()
    deltas: tuple[DeltaCurve, ...] = ()
    mixed: Mapping[str, Mapping[int, tuple[str, ...]]] = field(default_factory=dict)
    beside: Mapping[str, Mapping[str, Sample]] = field(default_factory=dict)
    new_data: Mapping[str, NewData] = field(default_factory=dict)

    @property
    def all_effects(self) -> tuple[Effect, ...]:
        """Main effects, then interactions."""
        return self.effects + self.interactions


@dataclass(frozen=True)
class Tuned:
    """The search in one arm. `winner`: the best sample that reached full length; `value`: its score there.

    `settings`: what it chose, by dotted key, empty while there is none. `samples` were planned, and `states`
    says how many of them are in each state.
    """

    arm: str
    samples: int
    states: Mapping[TrialState, int]
    winner: TrialRecord | None
    value: float | None
    wall_s: float
    settings: Mapping[str, Any] = field(default_factory=dict)


def excludes_zero(interval: Effect | Gap) -> bool:
    """Whether there is an interval, and it leaves zero out."""
    return interval.lo is not None and interval.hi is not None and (interval.lo > 0 or interval.hi < 0)


@dataclass(frozen=True)
class Difference:
    """The same effect found twice; None where one side does not have it. `gap`: second − first."""

    arm: str
    first: Effect | None
    second: Effect | None
    gap: Gap | None

    @property
    def verdicts_differ(self) -> bool:
        """Both have the effect, and say different things about it."""
        return bool(self.first and self.second and self.first.verdict != self.second.verdict)

    @property
    def contradict(self) -> bool:
        """Both claim something, and not both can be so: opposite directions, or an effect and next to none.

        *Different, size unclear* goes with a claim of either size.
        """
        if self.first is None or self.second is None:
            return False
        claims = {self.first.verdict, self.second.verdict}
        if not claims <= RESOLVED:
            return False
        if EQUIVALENT in claims:
            return not claims <= {EQUIVALENT, SIZE_UNCLEAR}
        return (self.first.delta or 0.0) * (self.second.delta or 0.0) < 0

    @property
    def disagree(self) -> bool:
        """More than chance: two claims that contradict each other, or an interval that excludes zero."""
        return self.contradict or bool(self.gap and excludes_zero(self.gap))


@dataclass(frozen=True)
class LedgerEntry:
    """What the runs of one arm, phase and state cost: `spent` is trained length."""

    arm: str
    phase: str
    state: TrialState
    runs: int
    spent: float
    wall_s: float
    gpu_s: float


@dataclass(frozen=True)
class Ledger:
    """What was spent, and on what. `spent` and `grid`: trained length so far, and of the whole grid.

    The grid is every planned run at full length; under resolve, every arm with the study's `seeds`. `saved`
    is the share of it (0 to 1) that stopped, diverged and skipped runs did not train, less what was trained
    beyond it. `wall_s` and `gpu_s` are the sums of those columns in results.parquet.
    """

    entries: tuple[LedgerEntry, ...]
    wall_s: float
    gpu_s: float
    spent: float
    grid: float
    saved: float

    def of_arm(self, arm: str) -> tuple[LedgerEntry, ...]:
        """Return the entries of one arm."""
        return tuple(entry for entry in self.entries if entry.arm == arm)

    def runs(self, *states: TrialState) -> int:
        """How many runs are in one of these states."""
        return sum(entry.runs for entry in self.entries if entry.state in states)

    @property
    def not_needed(self) -> int:
        """Runs that were skipped, but for those of arms of which every run has failed."""
        told = {entry.arm for entry in self.entries if entry.state in _TOLD}
        skipped = (entry for entry in self.entries if entry.state is TrialState.SKIPPED)
        return sum(entry.runs for entry in skipped if entry.arm in told)


@dataclass(frozen=True)
class Provenance:
    """Where the results come from: commit, whether the code differed from it, hashes of accepted changes."""

    commit: str | None = None
    dirty: bool = False
    python: str | None = None
    accepted_code: tuple[str, ...] = ()


@dataclass(frozen=True, repr=False)
class StudyReport:
    """Everything that a report says about a study.

    `evaluations`: one or two, the one to be read first in front (retuned where there is one).
    `tuning_dependent`: arms whose effects with fixed and with retuned settings disagree, with their gaps at
    level α over the number of effects. `looks`: numbers of
    seeds (rule resolve). `aliases`: groups of effects that a fractional design cannot tell apart. `location`:
    the study's directory, for the reader. `metric`, `mode`: of what is claimed; `selected_by`: the metric
    that only selects, where that is another one; `at`: as in the study file; `labels`: component -> how
    people call it, where the study says how; `caveats`, `methods`: as in the modules of these
    names, in the forms for people.
    """

    study: str
    metric: str
    mode: Mode
    unit: str
    max_length: float
    design: str
    rule: str
    goal: str | None
    tier: Tier
    alpha: float
    margin: float | None
    seeds: tuple[int, ...]
    looks: tuple[int, ...]
    plan_hash: str
    provenance: Provenance
    reference: ArmReport
    arms: tuple[ArmReport, ...]
    evaluations: tuple[ReportedEvaluation, ...]
    tuning_dependent: tuple[Difference, ...]
    tuned: tuple[Tuned, ...]
    aliases: tuple[tuple[str, ...], ...]
    ledger: Ledger
    ended: int
    total: int
    complete: bool
    notes: tuple[str, ...]
    location: str
    is_local: bool
    remarks: tuple[str, ...] = ()
    selected_by: str | None = None
    at: str = "last"
    labels: Mapping[str, str] = field(default_factory=dict)
    shared: tuple[SharedFile, ...] = ()
    caveats: tuple[str, ...] = ()
    methods: tuple[Paragraph, ...] = ()

    @property
    def planned(self) -> bool:
        """Whether a study is behind it, with trials and their costs, and not only a table of results."""
        return bool(self.plan_hash)

    @property
    def all_notes(self) -> tuple[str, ...]:
        """What a reader of the table must know, what is worth a look (inert arms), and what is assumed."""
        return (*self.notes, *self.remarks, *self.caveats)

    @property
    def first(self) -> ReportedEvaluation:
        """The evaluation to be read first."""
        return self.evaluations[0]

    @property
    def all_arms(self) -> tuple[ArmReport, ...]:
        """The reference, then the others in the plan's order."""
        return (self.reference, *self.arms)

    def arm(self, name: str) -> ArmReport | None:
        """Return the arm of that name; None for effects that no single arm stands for (factorial designs)."""
        return next((arm for arm in self.all_arms if arm.arm == name), None)

    def called(self, effect: Effect) -> str:
        """Return what a table calls an effect: its arm's label or name, an interaction `a × b`."""
        if effect.kind == "interaction" and self.labels.keys() & set(effect.components):
            return " × ".join(self.labels.get(name, name) for name in effect.components)
        if effect.kind == "interaction":
            return effect.arm
        arm = self.arm(effect.arm)
        if arm is None and effect.arm.startswith("no-"):
            label = self.labels.get(effect.arm.removeprefix("no-"))
            return effect.arm if label is None else f"without {label}"
        return effect.arm if arm is None else arm.called

    def ordered(self, effects: Iterable[Effect]) -> list[Effect]:
        """Return effects as tables show them: the largest first, without a Δ last; interactions behind."""

        def place(effect: Effect) -> tuple[bool, bool, float]:
            return effect.kind == "interaction", effect.delta is None, -abs(effect.delta or 0.0)

        return sorted(effects, key=place)

    @cached_property
    def scale(self) -> Scale:
        """How differences of the metric are written."""
        return scale_of(self)

    @property
    def followed(self) -> str:
        """The metric that learning curves are of, which is the one that selects."""
        return self.selected_by or self.metric

    @cached_property
    def curve_scale(self) -> Scale:
        """How differences of that metric are written."""
        return self.scale if self.selected_by is None else scale_of_curves(self)

    @property
    def averaged(self) -> bool:
        """Effects are averages over all runs of a factorial design, not differences of two arms."""
        return DESIGNS.get(self.design).crossed

    def behind(self, effect: Effect, phase: str) -> tuple[TrialRecord, ...]:
        """Return runs of a phase that an effect stands for: its arm's, or all where no single arm has it."""
        arm = None if self.averaged else self.arm(effect.arm)
        return tuple(run for one in ([arm] if arm else self.all_arms) for run in one.of(phase))

    def in_grid(self, arm: ArmReport) -> float:
        """Return what the grid would have trained in an arm, in the study's unit."""
        return self.max_length * sum(run.phase == "tune" or run.seed in self.seeds for run in arm.runs)

    def folder(self, name: str) -> str:
        """Return the directory of an arm's trials, relative to the study's."""
        return f"{next(arm.trial_dir for arm in self.all_arms if arm.arm == name)}/"

    def folder_of(self, effect: Effect) -> str:
        """Return the directory of an effect's trials, relative to the study's."""
        arm = None if self.averaged else self.arm(effect.arm)
        return arm.trial_dir if arm else "trials"

    @property
    def left_out(self) -> tuple[tuple[ArmReport, TrialRecord], ...]:
        """Evaluation runs that ended and yet enter no effect: shown with their reasons, never averaged.

        Skipped runs are not among them: their arm was resolved without them.
        """
        return tuple(
            (arm, run)
            for arm in self.all_arms
            for run in arm.runs
            if run.phase != "tune"
            and run.state.terminal
            and not run.used
            and run.state is not TrialState.SKIPPED
        )

    def __repr__(self) -> str:
        said = ", ".join(f"{effect.arm} {effect.verdict}" for effect in self.first.all_effects)
        return f"StudyReport({self.study}: {said})"

    def _repr_html_(self) -> str:
        from orchestrator.reporting.notebook import report_html

        return report_html(self)


@dataclass(frozen=True)
class Comparison:
    """Two studies side by side: an evaluation of each, and the differences of their effects.

    `notes`: settings, commits, seeds in which the studies differ.
    """

    first: StudyReport
    second: StudyReport
    ours: ReportedEvaluation
    theirs: ReportedEvaluation
    differences: tuple[Difference, ...]
    notes: tuple[str, ...]
