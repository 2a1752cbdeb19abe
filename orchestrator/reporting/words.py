"""Sentences: how a report speaks, the same in every form."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from orchestrator.decide.states import TrialState
from orchestrator.record.state import TrialRecord
from orchestrator.reporting.model import (
    Comparison,
    LedgerEntry,
    ReportedEvaluation,
    ReportedLook,
    StudyReport,
)
from orchestrator.reporting.numbers import (
    DASH,
    Scale,
    confidence,
    duration,
    one_line,
    p_value,
    quantity,
    share,
)
from orchestrator.stats.between import Gap
from orchestrator.stats.newdata import NewData
from orchestrator.stats.results import DETERMINISTIC, DIFFERENT, EQUIVALENT, RUNG_ONLY, Effect
from orchestrator.study.registered import GOALS, RULES

RUNG_ONLY_LABEL = "rung-only, no claim at full length"
_FAILED = (TrialState.FAILED, TrialState.DIVERGED)
MARKS = {"†": "stopped early, because resolved or hopeless", "‡": "moderated test only", "§": RUNG_ONLY}
"""Footnotes of tables."""
NEW_DATA, HERE_ONLY = "new seeds and new data", "on this validation set"


def outcome(run: TrialRecord) -> str:
    """Return what became of a run: `failed (oom)`, `stopped`, `done, no value`."""
    if run.state is TrialState.DONE and not run.used:
        if not run.has_value:
            return "done, no finite value"
        return "done" if run.phase == "tune" else "done, in no look"
    return f"{run.state} ({run.cause})" if run.cause else str(run.state)


def run_text(report: StudyReport, run: TrialRecord) -> str:
    """Return the value of a run, or what became of it."""
    return report.scale.value(run.value) if run.used and run.value is not None else outcome(run)


def left_out_row(run: TrialRecord) -> list[str]:
    """Return a run that is in no effect: outcome, length, attempts, reason."""
    length = DASH if run.length is None else f"{run.length:g}"
    return [outcome(run), length, str(run.attempts), one_line(run.reason)]


def ledger_row(entry: LedgerEntry) -> list[str]:
    """Return arm, phase, state, runs, trained length."""
    return [entry.arm, entry.phase, str(entry.state), str(entry.runs), f"{entry.spent:g}"]


LOOK_HEAD = ("seeds", "arm", "n", "Δ", "interval", "p", "level", "chance to resolve", "decision")


def look_row(report: StudyReport, look: ReportedLook) -> list[str]:
    """Return a look as a row under `LOOK_HEAD`."""
    between = report.scale.interval(look.lo, look.hi)
    level = DASH if look.level is None else f"{look.level:.2g}"
    found = [str(look.number), look.arm, str(look.n), report.scale.delta(look.delta), between]
    return [*found, p_value(look.p), level, share(look.power), look.action]


def settings(change: Mapping[str, Any]) -> str:
    """`optim.lr = 0.1, model.width = 64`."""
    return ", ".join(f"{key} = {json.dumps(value, default=str)}" for key, value in change.items())


def tally(runs: Iterable[TrialRecord]) -> str:
    """`3 done, 2 failed`: runs by state."""
    return counts(Counter(run.state for run in runs))


def counts(states: Mapping[TrialState, int]) -> str:
    """`3 done, 2 failed`."""
    return ", ".join(f"{states[state]} {state}" for state in TrialState if states.get(state))


def warnings(report: StudyReport) -> list[str]:
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
    parts = [f"design {report.design}", rule] if report.planned else []
    parts += [f"{count(len(report.seeds), 'seed')}", f"α = {report.alpha:g}"]
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


def names(report: StudyReport) -> list[str]:
    """Return one line with the arms that have a label: what commands and directories call them."""
    known = [f"{arm.arm} = {arm.label}" for arm in report.arms if arm.label is not None]
    return [f"names of the arms: {'; '.join(known)}"] if known else []


def lost(arm: str, seeds: Sequence[int], *, everything: bool, reference: bool = False) -> str:
    """Name the seeds for which an arm has no value; those of the reference cost every arm a pair."""
    if everything:
        nothing = ": there is nothing to compare with" if reference else ""
        return f"{arm} has no value under any seed{nothing}."
    one = len(seeds) == 1
    named = ", ".join(map(str, seeds))
    what = f"no value for seed {named}" if one else f"no values for seeds {named}"
    losers = "every arm loses its pair" if reference else "it has no pair"
    return f"{arm} has {what}: {losers}{'' if one else 's'} there."


def count(number: int, noun: str) -> str:
    """`1 seed`, `3 seeds`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def cost_line(report: StudyReport) -> str:
    """Return what was spent, and what of the grid was saved."""
    cost = report.ledger
    if not report.planned:
        return ""
    gpu = f"{cost.gpu_s / 3600:.3g} GPU-hours" if cost.gpu_s else "no GPU"
    saved = f"; {share(cost.saved)} saved by early stops" if cost.saved else ""
    # a plan with a budget has more seeds than it pays for: that they never ran saves nothing
    budgeted = report.goal is not None and GOALS.get(report.goal).budgeted
    skipped = 0 if budgeted else cost.not_needed
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


def failed(runs: Iterable[TrialRecord]) -> int:
    """Run that ended without an answer in value: failed or diverged."""
    return sum(run.state in _FAILED for run in runs)


def interval_name(report: StudyReport, kind: str = "main") -> str:
    """`95 % CI`; of main effects under the sequential rule `95 % sequential CI`."""
    sequential = RULES.get(report.rule).sequential and kind == "main"
    return f"{confidence(report)} {'sequential ' if sequential else ''}CI"


def here_only(evaluation: ReportedEvaluation, effect: Effect) -> bool:
    """Whether a difference is claimed that might be gone on other data."""
    found = evaluation.new_data.get(effect.arm)
    return effect.verdict in DIFFERENT and found is not None and found.holds_zero


def of_new_data(report: StudyReport, evaluation: ReportedEvaluation, effect: Effect, found: NewData) -> str:
    """Return what the interval for new seeds and new data says, as a sentence."""
    between = f"{report.scale.interval(found.lo, found.hi)} {report.scale.unit}".rstrip()
    text = f"For {NEW_DATA}: {between}, from {count(found.samples, 'sample')}"
    return f"{text}; so the claim is {HERE_ONLY}." if here_only(evaluation, effect) else f"{text}."


def verdict(report: StudyReport, effect: Effect, scale: Scale) -> str:
    """Return the verdict, with the margin where it speaks of one."""
    if effect.verdict == EQUIVALENT and report.margin is not None:
        return f"{EQUIVALENT} (±{scale.amount(report.margin)})"
    return effect.verdict


def marks(effect: Effect) -> str:
    """Footnote marks of an effect, as `MARKS` explains them."""
    holds = (effect.early, "moderated only" in effect.flags, effect.verdict == RUNG_ONLY)
    return "".join(mark for mark, there in zip(MARKS, holds, strict=True) if there)


def reference_line(report: StudyReport, evaluation: ReportedEvaluation) -> str:
    """Return the reference arm: mean, standard deviation over seeds, n."""
    sample = evaluation.samples[report.reference.arm]
    if sample.mean is None:
        runs = tally(report.reference.of(evaluation.phase))
        yet = "" if report.complete else " yet"
        return f"{sample.arm}: no finished run{yet}{f' ({runs})' if runs else ''}"
    spread = "" if sample.sd is None else f", SD {report.scale.value(sample.sd)}"
    return f"{sample.arm}: mean {report.scale.value(sample.mean)}{spread}, n = {sample.n}"


def caption(report: StudyReport, evaluation: ReportedEvaluation) -> str:
    """Return what the columns of the effect table mean."""
    name = report.reference.arm
    text = f"Δ = arm − {name}, mean over the seeds that both finished, the largest first"
    if report.averaged:
        text = "Δ = main effect of taking the component away, averaged over the others, the largest first"
    tested = [effect for effect in evaluation.effects if effect.p is not None]
    if tested:
        first, *later = [count(len(family), "arm") for family in evaluation.families] or ["no arm"]
        family = f"{first} (and {', '.join(later)} added later)" if later else first
        method = max((effect.method for effect in tested), key=len)
        kind = "sequential interval" if RULES.get(report.rule).sequential else "interval"
        text += f"; {method}, {kind} per arm; verdict: Holm p over {family} at most {report.alpha:g}"
        text += ". Difference and equivalence each spend their own α" if report.margin is not None else ""
    elif report.tier == RUNG_ONLY:
        text += "; no interval, because which seeds came this far depends on their results"
    elif any(effect.verdict == DETERMINISTIC for effect in evaluation.effects):
        text += "; no interval, because seeds change nothing"
    used = {mark for effect in evaluation.all_effects for mark in marks(effect)}
    notes = [f"{mark} {meaning}" for mark, meaning in MARKS.items() if mark in used]
    if evaluation.new_data:
        mine, only = evaluation.new_data.values(), f"; {HERE_ONLY}: it holds 0"
        samples = sorted({f"{found.samples:,}" for found in mine}, key=len)
        mark = only if any(here_only(evaluation, one) for one in evaluation.all_effects) else ""
        text += f". The interval for {NEW_DATA} has the {' or '.join(samples)} samples in it as well{mark}"
    absolute = "Metrics: mean ± SD over an arm's finished seeds" if len(report.seeds) > 1 else ""
    return ". ".join(filter(None, [text, absolute, selection(report), *notes]))


def selection(report: StudyReport) -> str:
    """Return which report of a run counts, and by what it was chosen; empty where it is the last one."""
    if report.selected_by is not None:
        where = f"in the report where {report.selected_by} was best" if report.at == "best" else "at the end"
        chosen = "selected on" if report.at == "best" else "choices were made on"
        return f"{report.metric} {where}: {chosen} {report.selected_by}, claimed on {report.metric}"
    if report.at == "best":
        return (
            f"Each value is the best {report.metric} of its run: chosen and claimed on the same data, "
            "which is optimistic, most for arms that fluctuate"
        )
    return ""


def tuning_lines(report: StudyReport) -> list[str]:
    """Return the arms whose effect depends on the tuning, one sentence each."""
    return [
        f"{found.arm} is tuning-dependent: Δ = {_side(report, found.first, report.scale)} with the study "
        f"file's settings, {_side(report, found.second, report.scale)} with each arm's own winner"
        f"{_gap_words(report, found.gap)}."
        for found in report.tuning_dependent
    ]


def _side(report: StudyReport, effect: Effect | None, scale: Scale) -> str:
    """One of two effects: `−1.8 pp [−2.4, −1.2] (hurts)`."""
    if effect is None:
        return "not there"
    if effect.delta is None:
        return effect.verdict
    return f"{_amount(effect, effect.delta, scale)} ({verdict(report, effect, scale)})"


def _amount(found: Effect | Gap, delta: float, scale: Scale) -> str:
    """`−1.8 pp [−2.4, −1.2]`."""
    between = "" if found.lo is None else f" {scale.interval(found.lo, found.hi)}"
    return f"{scale.amount(delta, sign=True)}{between}"


def _gap_words(report: StudyReport, gap: Gap | None) -> str:
    if gap is None or gap.lo is None:
        return ""
    interval = f"{confidence(report)} CI over all arms {report.scale.interval(gap.lo, gap.hi)}"
    delta = report.scale.amount(gap.delta, sign=True)
    return f"; they differ by {delta} ({interval}, {_gap_method(gap)})"


def _gap_method(gap: Gap | None) -> str:
    """`paired, 5 seeds`, `Welch`."""
    if gap is None or gap.method == "none":
        return DASH
    return f"paired, {count(gap.n, 'seed')}" if gap.method == "paired" else "Welch"


def comparison_head(found: Comparison) -> list[str]:
    """Return the headings of `comparison_rows`: the studies, with the phase where that tells them apart."""
    sides = ((found.first, found.ours.phase), (found.second, found.theirs.phase))
    phases = found.ours.phase != found.theirs.phase
    names = [f"{report.study} ({phase})" if phases else report.study for report, phase in sides]
    return ["arm", *names, "difference", "method", "verdicts"]


def comparison_rows(found: Comparison) -> list[list[str]]:
    """Arm, both effects, their difference with interval, how it was computed, whether verdicts differ."""
    first, second, scale = found.first, found.second, found.first.scale
    rows = []
    for row in found.differences:
        gap = row.gap
        flag = "only in one" if row.first is None or row.second is None else ""
        flag = flag or ("DISAGREE" if row.disagree else "differ" if row.verdicts_differ else "same")
        sides = _side(first, row.first, scale), _side(second, row.second, scale)
        amount = DASH if gap is None else _amount(gap, gap.delta, scale)
        rows.append([row.arm, *sides, amount, _gap_method(gap), flag])
    return rows


def comparison_lines(found: Comparison) -> list[str]:
    """Return what else must be known when two studies are compared."""
    lines = [
        f"{name}: {line}"
        for name, report in (("first", found.first), ("second", found.second))
        for line in warnings(report)
    ]
    phases = {found.ours.phase, found.theirs.phase}
    lines += [f"settings: {found.ours.phase} against {found.theirs.phase}"] if len(phases) > 1 else []
    lines += found.notes
    lines.append(
        f"difference = second − first, {confidence(found.first)} interval per arm, not corrected for the "
        "number of arms; DISAGREE: it excludes 0, or the two claims contradict each other"
    )
    return lines
