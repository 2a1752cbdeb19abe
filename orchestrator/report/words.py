"""Sentences: how a report speaks, the same in every form."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from orchestrator.decide.states import TrialState
from orchestrator.record.state import TrialRecord
from orchestrator.report.devices import MIXED
from orchestrator.report.model import Comparison, Difference, ReportedEvaluation, StudyReport
from orchestrator.report.numbers import DASH, Scale, confidence, duration, ends, equals, quantity, share
from orchestrator.stats.results import (
    DETERMINISTIC,
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
from orchestrator.study.registered import GOALS, RULES

RUNG_ONLY_LABEL = "rung-only, no claim at full length"
SPENDING = "Difference and equivalence each spend their own α."
_DIRECTED = (HURTS, HELPS, SIZE_UNCLEAR)
_FAILED = (TrialState.FAILED, TrialState.DIVERGED)
MARKS = {"†": "stopped early, because resolved or hopeless", "‡": "moderated test only", "§": RUNG_ONLY}
"""Footnotes of tables."""


@dataclass(frozen=True)
class Style:
    """How a form marks names of components, and makes other text safe."""

    emphasise: Callable[[str], str] = str
    escape: Callable[[str], str] = str


PLAIN = Style()


def outcome(run: TrialRecord) -> str:
    """Return what became of a run: `failed (oom)`, `stopped`, `done, no value`."""
    if run.state is TrialState.DONE and not run.used:
        if not run.has_value:
            return "done, no finite value"
        return "done" if run.phase == "tune" else "done, in no look"
    return f"{run.state} ({run.cause})" if run.cause else str(run.state)


def tally(runs: Iterable[TrialRecord]) -> str:
    """`3 done, 2 failed`: runs by state."""
    return counts(Counter(run.state for run in runs))


def counts(states: Mapping[TrialState, int]) -> str:
    """`3 done, 2 failed`."""
    return ", ".join(f"{states[state]} {state}" for state in TrialState if states.get(state))


def headline(report: StudyReport) -> list[str]:
    """Return what must be read before any number."""
    lines = []
    if not report.complete:
        left = report.total - report.ended
        more = f", {left} are left" if left else "; the winners of the search are not evaluated yet"
        lines.append(f"incomplete: {report.ended} of {report.total} cells have ended{more}")
    if report.tier == RUNG_ONLY:
        lines.append(f"{RUNG_ONLY_LABEL}: unpromising runs were stopped by rule {report.rule}")
    return lines


def settings_line(report: StudyReport) -> str:
    """Return what was registered before the first run."""
    rule = f"rule {report.rule}" + (f" (goal: {report.goal})" if report.goal else "")
    parts = [f"design {report.design}", rule, f"{count(len(report.seeds), 'seed')}", f"α = {report.alpha:g}"]
    parts += [f"margin ±{report.margin:g}"] if report.margin is not None else []
    parts += [f"looks at {', '.join(map(str, report.looks))} seeds"] if report.looks else []
    return ", ".join(parts)


def provenance_line(report: StudyReport) -> str:
    """Plan, commit and the state of the code."""
    where = report.provenance
    parts = [f"plan {report.plan_hash}"]
    if where.commit:
        changed = " with uncommitted changes" if where.dirty else ""
        parts.append(f"commit {where.commit[:12]}{changed}")
    parts += [f"{count(len(where.accepted_code), 'accepted code change')}"] if where.accepted_code else []
    parts += [f"Python {where.python}"] if where.python else []
    return ", ".join(parts)


def count(number: int, noun: str) -> str:
    """`1 seed`, `3 seeds`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def cost_line(report: StudyReport) -> str:
    """Return what was spent, and what of the grid was saved."""
    cost = report.ledger
    gpu = f"{cost.gpu_s / 3600:.3g} GPU-hours" if cost.gpu_s else "no GPU"
    saved = f"; {share(cost.saved)} saved by early stops" if cost.saved else ""
    # a plan with a budget has more seeds than it pays for: that they never ran saves nothing
    budgeted = report.goal is not None and GOALS.get(report.goal).budgeted
    skipped = 0 if budgeted else cost.runs(TrialState.SKIPPED)
    saved += f" ({count(skipped, 'run')} not needed)" if skipped else ""
    trained = f"trained {cost.spent:g} of the grid's {quantity(cost.grid, report.unit)}"
    return f"{duration(cost.wall_s)} of trials, {gpu}; {trained}{saved}"


def pairing_line(report: StudyReport, evaluation: ReportedEvaluation | None = None) -> str | None:
    """Return what pairing by seed was worth; None where it cannot be measured."""
    found = (evaluation or report.first).pairing
    if found.rho is None or found.variance_saved is None or report.tier == RUNG_ONLY:
        return None
    saved = f"saved {share(found.variance_saved)}" if found.variance_saved >= 0 else "saved none"
    rho = f"{found.rho:.2f}".replace("-", "−")
    return f"pairing by seed {saved} of a difference's variance (ρ̂ = {rho}, {found.seeds} seeds)"


def phase_title(report: StudyReport, evaluation: ReportedEvaluation) -> str:
    """Which settings an evaluation compares; empty where there is only the study file's."""
    if evaluation.phase == "retuned":
        return "each arm with the winner of its own search"
    return "the settings of the study file" if len(report.evaluations) > 1 else ""


def phase_tag(report: StudyReport, evaluation: ReportedEvaluation) -> str:
    """Behind a figure's title, so that two of them are not mistaken for each other."""
    return f" ({evaluation.phase})" if len(report.evaluations) > 1 else ""


def intervention(report: StudyReport, effect: Effect, emphasise: Callable[[str], str] = str) -> str:
    """Return what was done to the recipe: `Removing *batchnorm*`."""
    if effect.kind == "interaction":
        names = " and ".join(emphasise(name) for name in components_of(effect))
        removed = all(part.startswith("no-") for part in effect.arm.split("+"))
        return f"{'Removing' if removed else 'Changing'} {names} together"
    arm = report.arm(effect.arm)
    name = (arm.component if arm else None) or next(iter(effect.components), None)
    if name is None:
        return f"Arm {emphasise(effect.arm)}"
    kind = arm.kind if arm else "without" if effect.arm == f"no-{name}" else "swap"
    if kind == "only":
        return f"Adding {emphasise(name)}"
    if kind == "swap":
        return f"Exchanging {emphasise(name)} for {emphasise(effect.arm.removeprefix(f'{name}='))}"
    return f"Removing {emphasise(name)}" if kind == "without" else f"Arm {emphasise(effect.arm)}"


def components_of(effect: Effect) -> tuple[str, ...]:
    """Return the components that an effect is about; from its name where it does not say."""
    return effect.components or tuple(part.removeprefix("no-") for part in effect.arm.split("+"))


def by_pair(evaluation: ReportedEvaluation) -> dict[tuple[str, ...], Effect]:
    """Return the interactions of two components that have a Δ, by these components."""
    found = {components_of(effect): effect for effect in evaluation.interactions}
    return {pair: effect for pair, effect in found.items() if len(pair) == 2 and effect.delta is not None}


def sentence(
    report: StudyReport, evaluation: ReportedEvaluation, effect: Effect, scale: Scale, style: Style = PLAIN
) -> str:
    """Return what the study says about one effect, as a sentence that can be quoted."""
    subject = intervention(report, effect, style.emphasise)
    runs = report.behind(effect, evaluation.phase)
    total = len({run.seed for run in runs})
    seeds = f"n = {effect.n} of {count(total, 'seed')}"
    if effect.delta is None:
        if effect.verdict == FAILS:
            return f"{subject} fails ({failed(runs)} of {count(len(runs), 'seed')}: {tally(runs)})."
        label = RUNG_ONLY_LABEL if effect.verdict == RUNG_ONLY else NO_DATA
        why = f"no pair of runs reached full length ({tally(runs)})"
        if not runs:
            why = "nothing was run, because no sample of its search reached full length"
            why = why if report.tuned and report.complete else "nothing has been run yet"
        return f"{subject}: {label}; {why}."
    metric = style.escape(report.metric)
    beyond = " beyond the sum of both" if effect.kind == "interaction" else ""
    change = f"{metric} differs by {scale.amount(effect.delta, sign=True)}{beyond}"
    if effect.verdict == RUNG_ONLY:
        return f"{subject}: {RUNG_ONLY_LABEL}; among the seeds that reached it {change} ({seeds})."
    if effect.p is None:
        return f"{subject}: {effect.verdict}; {change}, without an interval ({seeds})."
    if effect.verdict in _DIRECTED or effect.verdict == INTERACTS:
        verb = "raises" if effect.delta > 0 else "lowers"
        said = f"{subject} {verb} {metric} by {scale.amount(abs(effect.delta))}{beyond}"
        text = f"{said} ({_support(report, effect, scale, seeds, directed=True)})."
    else:
        said = verdict_words(report, effect, scale)
        text = f"{subject}: {said}; {change} ({_support(report, effect, scale, seeds)})."
    return " ".join([text, *_remarks(report, evaluation, effect, scale)])


def _support(report: StudyReport, effect: Effect, scale: Scale, seeds: str, *, directed: bool = False) -> str:
    """Interval, n and p. `directed`: the sentence has named the direction, so the interval is of the size."""
    lo, hi = effect.lo or 0.0, effect.hi or 0.0
    if directed and (effect.delta or 0.0) < 0:
        lo, hi = -hi, -lo
    signed = lo < 0 or not directed
    ends = (scale.number(lo, sign=signed), scale.number(hi, sign=signed))
    interval = f"{ends[0]} to {ends[1]}" if signed or scale.scientific else f"{ends[0]}–{ends[1]}"
    equivalent = effect.verdict == EQUIVALENT and effect.p_equivalent is not None
    tests = f"TOST p {equals(effect.p_equivalent)}" if equivalent else f"Holm p {equals(effect.p_holm)}"
    return f"{interval_name(report, effect.kind)} {interval}; {seeds}; {tests}"


def _remarks(report: StudyReport, evaluation: ReportedEvaluation, effect: Effect, scale: Scale) -> list[str]:
    """Return what must be said behind the numbers so that they are read rightly."""
    remarks = []
    if effect.verdict == SIZE_UNCLEAR and report.margin is not None:
        remarks.append(f"Different, but whether by more than {scale.amount(report.margin)} is unclear.")
    if effect.early and effect.verdict in RESOLVED:
        lean = "" if effect.verdict == EQUIVALENT else "; early-stopped effects lean slightly large"
        remarks.append(f"Stopped early because resolved{lean}.")
    if effect.verdict == UNRESOLVED and effect.early:
        remarks.append("Given up early: the seeds that were left would hardly have resolved it.")
    if effect.verdict == UNRESOLVED and effect.seeds_needed is not None:
        remarks.append(f"About {count(_about(effect.seeds_needed), 'seed')} would be needed.")
    if effect.verdict not in RESOLVED and excludes_zero(effect):
        family = family_size(evaluation, effect)
        remarks.append(f"The interval of this arm alone excludes 0; among {family} that is not enough.")
    if "moderated only" in effect.flags:
        remarks.append("Only the moderated test rejects, the plain paired t does not.")
    return remarks


def _about(seeds: int) -> int:
    """Return an estimate without the digits that it does not have: two are enough."""
    return seeds if seeds < 100 else int(float(f"{seeds:.2g}"))


def excludes_zero(effect: Effect) -> bool:
    """Whether the interval of this arm alone leaves zero out."""
    return effect.lo is not None and effect.hi is not None and (effect.lo > 0 or effect.hi < 0)


def family_size(evaluation: ReportedEvaluation, effect: Effect) -> str:
    """`10 arms`: how many effects are corrected together with this one."""
    if effect.kind == "interaction":
        return count(len(evaluation.interactions), "interaction")
    mine = next((family for family in evaluation.families if effect.arm in family), None)
    return count(len(mine) if mine else len(evaluation.effects), "arm")


def failed(runs: Iterable[TrialRecord]) -> int:
    """Run that ended without an answer in value: failed or diverged."""
    return sum(run.state in _FAILED for run in runs)


def interval_name(report: StudyReport, kind: str = "main") -> str:
    """`95 % CI`; of main effects under the sequential rule `95 % sequential CI`."""
    sequential = RULES.get(report.rule).sequential and kind == "main"
    return f"{confidence(report)} {'sequential ' if sequential else ''}CI"


def verdict_words(report: StudyReport, effect: Effect, scale: Scale) -> str:
    """Return the verdict, with the margin where it speaks of one."""
    if effect.verdict == EQUIVALENT and report.margin is not None:
        return f"{EQUIVALENT} (±{scale.amount(report.margin)})"
    return effect.verdict


def verdict(
    report: StudyReport, evaluation: ReportedEvaluation, effect: Effect, scale: Scale, *, brief: bool = False
) -> str:
    """Return the verdict with its marks and what happened to the runs: `hurts† (1 failed)`, `fails (5 of 5)`.

    `brief`: without the seeds that would be needed.
    """
    runs = report.behind(effect, evaluation.phase)
    if effect.verdict == FAILS:
        return f"fails ({failed(runs)} of {len(runs)})"
    told = (" failed", " stopped", "not finished", "noisy", MIXED)
    lost = [flag for flag in effect.flags if flag.endswith(told)]
    if effect.verdict == UNRESOLVED and effect.seeds_needed is not None and not brief:
        lost.append(f"needs ≈ {count(_about(effect.seeds_needed), 'seed')}")
    said = f"{verdict_words(report, effect, scale)}{marks(effect)}"
    return f"{said} ({', '.join(lost)})" if lost else said


def marks(effect: Effect) -> str:
    """Footnote marks of an effect, as `MARKS` explains them."""
    return "".join(
        mark
        for mark, holds in (
            ("†", effect.early),
            ("‡", "moderated only" in effect.flags),
            ("§", effect.verdict == RUNG_ONLY),
        )
        if holds
    )


def reference_line(report: StudyReport, evaluation: ReportedEvaluation, scale: Scale) -> str:
    """Return the reference arm: mean, standard deviation over seeds, n."""
    sample = evaluation.samples[report.reference.arm]
    if sample.mean is None:
        runs = tally(report.reference.of(evaluation.phase))
        yet = "" if report.complete else " yet"
        return f"{sample.arm}: no finished run{yet}{f' ({runs})' if runs else ''}"
    spread = "" if sample.sd is None else f", SD {scale.value(sample.sd)}"
    return f"{sample.arm}: mean {scale.value(sample.mean)}{spread}, n = {sample.n}"


def caption(report: StudyReport, evaluation: ReportedEvaluation) -> str:
    """Return what the columns of the effect table mean."""
    name = report.reference.arm
    text = f"Δ = arm − {name}, mean over the seeds that both finished"
    if report.averaged:
        text = "Δ = main effect of taking the component away, averaged over the others"
    tested = [effect for effect in evaluation.effects if effect.p is not None]
    if tested:
        first, *later = [count(len(family), "arm") for family in evaluation.families] or ["no arm"]
        family = f"{first} (and {', '.join(later)} added later)" if later else first
        method = max((effect.method for effect in tested), key=len)
        kind = "sequential interval" if RULES.get(report.rule).sequential else "interval"
        text += f"; {method}, {kind} per arm; verdict: Holm p over {family} at most {report.alpha:g}"
        text += f". {SPENDING.removesuffix('.')}" if report.margin is not None else ""
    elif report.tier == RUNG_ONLY:
        text += "; no interval, because which seeds came this far depends on their results"
    elif any(effect.verdict == DETERMINISTIC for effect in evaluation.effects):
        text += "; no interval, because seeds change nothing"
    used = {mark for effect in evaluation.all_effects for mark in marks(effect)}
    return ". ".join([text, *(f"{mark} {meaning}" for mark, meaning in MARKS.items() if mark in used)])


def tuning_lines(report: StudyReport, scale: Scale) -> list[str]:
    """Return the arms whose effect depends on the tuning, one sentence each."""
    return [
        f"{found.arm} is tuning-dependent: Δ = {side(report, found.first, scale)} with the study file's "
        f"settings, {side(report, found.second, scale)} with each arm's own winner"
        f"{_gap_words(report, found, scale)}."
        for found in report.tuning_dependent
    ]


def side(report: StudyReport, effect: Effect | None, scale: Scale) -> str:
    """One of two effects: `−1.8 pp [−2.4, −1.2] (hurts)`."""
    if effect is None:
        return "not there"
    if effect.delta is None:
        return effect.verdict
    between = "" if effect.lo is None else f" {ends(effect.lo, effect.hi, scale)}"
    return f"{scale.amount(effect.delta, sign=True)}{between} ({verdict_words(report, effect, scale)})"


def _gap_words(report: StudyReport, found: Difference, scale: Scale) -> str:
    gap = found.gap
    if gap is None or gap.lo is None:
        return ""
    return (
        f"; they differ by {scale.amount(gap.delta, sign=True)} "
        f"({confidence(report)} CI over all arms {ends(gap.lo, gap.hi, scale)}, {gap_method(found)})"
    )


def gap_method(found: Difference) -> str:
    """`paired, 5 seeds`, `Welch`."""
    if found.gap is None or found.gap.method == "none":
        return DASH
    return f"paired, {count(found.gap.n, 'seed')}" if found.gap.method == "paired" else "Welch"


def comparison_rows(found: Comparison, scale: Scale) -> list[list[str]]:
    """Arm, both effects, their difference with interval, how it was computed, whether verdicts differ."""
    rows = []
    for row in found.differences:
        gap = row.gap
        amount = DASH if gap is None else scale.amount(gap.delta, sign=True)
        amount += "" if gap is None or gap.lo is None else f" {ends(gap.lo, gap.hi, scale)}"
        flag = "only in one" if row.first is None or row.second is None else ""
        flag = flag or ("DISAGREE" if row.disagree else "differ" if row.verdicts_differ else "same")
        rows.append(
            [
                row.arm,
                side(found.first, row.first, scale),
                side(found.second, row.second, scale),
                amount,
                gap_method(row),
                flag,
            ]
        )
    return rows


def compared_names(found: Comparison) -> tuple[str, str]:
    """Return what the two columns are called: the studies, with the phase where that tells them apart."""
    first, second = found.first.study, found.second.study
    if found.ours.phase == found.theirs.phase:
        return first, second
    return f"{first} ({found.ours.phase})", f"{second} ({found.theirs.phase})"


def comparison_lines(found: Comparison) -> list[str]:
    """Return what else must be known when two studies are compared."""
    lines = [
        f"{name}: {line}"
        for name, report in (("first", found.first), ("second", found.second))
        for line in headline(report)
    ]
    phases = {found.ours.phase, found.theirs.phase}
    lines += [f"settings: {found.ours.phase} against {found.theirs.phase}"] if len(phases) > 1 else []
    lines += found.notes
    lines.append(
        f"difference = second − first, {confidence(found.first)} interval per arm, not corrected for the "
        "number of arms; DISAGREE: it excludes 0, or the two claims contradict each other"
    )
    return lines
