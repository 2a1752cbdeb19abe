"""From the records of a study to its report: what every form draws is put together here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import replace
from itertools import chain

from orchestrator.decide.agenda import agenda, used_cells
from orchestrator.decide.states import TrialState
from orchestrator.decide.stopping import rule_of
from orchestrator.decide.tuning import ArmTuning, tunings
from orchestrator.record.deleted import deleted
from orchestrator.record.layout import StudyPaths
from orchestrator.record.recorded import RecordedEnvironment, read_environment
from orchestrator.record.shared import DOUBTFUL, shared_files
from orchestrator.record.state import StudyState, TrialRecord
from orchestrator.record.storage import Storage
from orchestrator.reporting import codes, devices, words
from orchestrator.reporting.caveats import caveats
from orchestrator.reporting.compare import differences
from orchestrator.reporting.evaluate import evaluate
from orchestrator.reporting.ledger import ledger
from orchestrator.reporting.methods import methods_of
from orchestrator.reporting.model import ArmReport, Provenance, ReportedEvaluation, StudyReport, Tuned
from orchestrator.reporting.numbers import out_of_range
from orchestrator.stats.results import DETERMINISTIC, Effect
from orchestrator.study.cells import TUNE, Arm, Plan
from orchestrator.study.designs import chosen_later
from orchestrator.study.registered import design_of
from orchestrator.study.spec import StudySpec

_LOST = (TrialState.DONE, TrialState.STOPPED, TrialState.DIVERGED, TrialState.FAILED, TrialState.CANCELLED)
_MOST_NAMED = 5
_EXPLAINED = {
    "zero variance": "Where all differences are equal there is no spread to judge them by: no interval and "
    "no claim. With few seeds and a coarse metric equal differences come about by chance.",
    "conditional": "Where runs failed or were stopped, Δ holds for the seeds that reached full length only.",
    "noisy": "Arms marked noisy vary more over seeds than the others: their variance stands alone.",
}
"""What the flags of an effect mean."""
_CHOSEN = (
    "The pairs were chosen by their main effects, from seeds that the interactions share: where a main "
    "effect was only just found, the interaction leans against it, and its interval covers less than it says."
)


def build_report(
    storage: Storage, paths: StudyPaths, spec: StudySpec, plan: Plan, history: StudyState
) -> StudyReport:
    """Everything that a report says about the study as far as it got, but for its curves.

    Of the study's files it reads env.json only; `curves.with_curves` reads those of the trials. Where the
    directory of one was deleted, there is nothing to read or to lead to; a record without any is a copy
    that leaves them out.
    """
    gone = deleted(storage, paths, history.cells.values())
    lost = {trial.cell for trial in gone} if storage.exists(paths.trials_dir) else set()
    todo = agenda(spec, plan, history.cells, history.families)
    used = used_cells(spec, plan, history.cells, history.families)
    unseen = "decided without it" if todo.complete else "its look has not been taken yet"
    arms = {arm.name: _arm(arm, plan, history, used, unseen, lost, arm_label(spec, arm)) for arm in plan.arms}
    evaluations = tuple(
        evaluate(phase, spec, plan, history, todo.judged, used) for phase in reversed(spec.phases)
    )
    searches = tunings(spec, plan, history.cells)
    rule, env = rule_of(spec), read_environment(storage, paths)
    report = StudyReport(
        study=plan.study,
        metric=spec.metric.claimed,
        mode=spec.metric.claimed_mode,
        selected_by=None if spec.metric.test is None else spec.metric.name,
        at=spec.metric.at,
        labels={name: one.label for name, one in spec.components.items() if one.label is not None},
        unit=spec.stopping.unit,
        max_length=spec.stopping.max,
        design=spec.design,
        rule=rule.name,
        goal=None if (goal := rule.goal(spec)) is None else goal.name,
        tier=rule.tier,
        alpha=spec.report.alpha,
        margin=spec.report.margin,
        seeds=tuple(spec.seeds),
        looks=rule.looks(spec),
        plan_hash=plan.hash,
        provenance=_provenance(env, history),
        reference=arms[plan.reference],
        arms=tuple(arm for name, arm in arms.items() if name != plan.reference),
        evaluations=evaluations,
        tuning_dependent=(),
        tuned=tuple(_tuned(search, arms[search.arm], plan) for search in searches),
        aliases=_aliases(spec),
        ledger=ledger(spec, plan, history),
        ended=len(plan.cells) - len(history.remaining(retry_failed=False)),
        total=len(plan.cells),
        complete=todo.complete,
        notes=_notes(spec, arms[plan.reference], tuple(arms.values()), evaluations, searches),
        location=str(storage.local_path(paths.root)) if storage.is_local else f"{storage.uri}/{paths.root}",
        is_local=storage.is_local,
        shared=tuple(shared_files(history.cells.values())),
    )
    report = _remarked(report, spec, plan, history, env)
    if len(evaluations) < 2:
        return report
    retuned, fixed = evaluations
    found = differences(report, fixed, report, retuned, together=True)
    return replace(report, tuning_dependent=tuple(difference for difference in found if difference.disagree))


def _remarked(
    report: StudyReport, spec: StudySpec, plan: Plan, history: StudyState, env: RecordedEnvironment
) -> StudyReport:
    """Return the report with what follows from the rest of it: odd values, inert arms, caveats, methods."""
    inert = (_inert(report.reference, report.arms, one.phase) for one in report.evaluations)
    notes, remarks = (*report.notes, *out_of_range(report)), tuple(chain.from_iterable(inert))
    rule = rule_of(spec).on_seeds(spec, len(next(iter(report.first.families), ())))
    told = methods_of(report, spec, plan, tuple(history.cells.values()), env)
    return replace(report, notes=notes, remarks=remarks, caveats=caveats(report, rule), methods=told)


def _aliases(spec: StudySpec) -> tuple[tuple[str, ...], ...]:
    """Return `("a", "b × c × d")`: groups of two effects or more."""
    groups = (tuple(" × ".join(effect) for effect in one) for one in design_of(spec).aliases(spec))
    return tuple(group for group in groups if len(group) > 1)


def arm_label(spec: StudySpec, arm: Arm) -> str | None:
    """Return how people call an arm, `without batch normalisation`; None where the study does not say."""
    parts = arm.parts or ((arm.component,) if arm.component else ())
    found = {name: spec.components[name] for name in parts if name in spec.components}
    names = [one.label or name for name, one in found.items()]
    if arm.kind == "swap" and arm.component in found:
        alternative = arm.name.removeprefix(f"{arm.component}=")
        labels = found[arm.component].labels
        if alternative not in labels and found[arm.component].label is None:
            return None
        return f"{names[0]}: {labels.get(alternative, alternative)}"
    if not any(one.label for one in found.values()):
        return None
    return f"{'only' if arm.kind == 'only' else 'without'} {' and '.join(names)}"


def _arm(
    arm: Arm,
    plan: Plan,
    history: StudyState,
    used: frozenset[str],
    unseen: str,
    lost: Collection[str],
    label: str | None,
) -> ArmReport:
    cells = sorted(plan.by_arm[arm.name], key=lambda cell: (cell.phase, cell.seed, cell.sample or 0))
    runs = tuple(_run(history.cells[cell.cell], used, unseen, lost) for cell in cells)
    return ArmReport(arm.name, arm.kind, arm.component, arm.why, dict(arm.set), runs, label)


def _run(record: TrialRecord, used: frozenset[str], unseen: str, lost: Collection[str]) -> TrialRecord:
    """Return the run, with the reason where it has finished and yet is in no effect: only looks do that."""
    run = record
    if record.cell in used:
        run = replace(record, used=True)
    elif record.state is TrialState.DONE and record.has_value and record.phase != TUNE:
        run = replace(record, reason=unseen)
    if record.cell in lost:
        run = replace(run)
        run.trial_dir = ""
    return run


def _tuned(search: ArmTuning, arm: ArmReport, plan: Plan) -> Tuned:
    """Return the search of one arm, as far as it got."""
    samples = arm.of(TUNE)
    won = search.winner.cell if search.winner else None
    winner = next((run for run in samples if run.cell == won), None)
    return Tuned(
        arm=arm.arm,
        samples=len(samples),
        states=dict(Counter(run.state for run in samples)),
        winner=winner,
        value=winner.value if winner else None,
        wall_s=sum(run.wall_s for run in samples),
        settings=dict(plan.cell(winner.cell).set) if winner else {},
    )


def _provenance(env: RecordedEnvironment, history: StudyState) -> Provenance:
    commit, dirty = (env.git.commit, bool(env.git.dirty)) if env.git else (None, False)
    return Provenance(commit, dirty, env.python, tuple(history.accepted_code))


def _notes(
    spec: StudySpec,
    reference: ArmReport,
    arms: tuple[ArmReport, ...],
    evaluations: tuple[ReportedEvaluation, ...],
    searches: tuple[ArmTuning, ...],
) -> tuple[str, ...]:
    """Return what a reader of the table must know, in full sentences."""
    shared = shared_files(run for arm in arms for run in arm.runs)
    notes = [f"{file}; {DOUBTFUL}." for file in shared]
    if len(spec.seeds) == 1:
        notes.append("One seed: there are no intervals and no p-values, so no difference is a finding yet.")
    for evaluation in evaluations:
        notes += _lost(reference, evaluation)
        notes += devices.note(evaluation, averaged=design_of(spec).crossed)
    effects = [effect for evaluation in evaluations for effect in evaluation.all_effects]
    notes += explanations(effects)
    if chosen_later(spec) and any(arm.kind == "pair" for arm in arms):
        notes.append(_CHOSEN)
    barren = [search.arm for search in searches if search.complete and search.winner is None]
    if barren:
        notes.append(f"No sample of {', '.join(barren)} reached full length: nothing to compare there.")
    if any(effect.verdict == DETERMINISTIC for effect in effects):
        notes.append("The study is deterministic: seeds change nothing, so there are no intervals.")
    runs = [run for arm in arms for run in arm.runs]
    notes += codes.note(runs)
    lost = [run.name for run in runs if not run.trial_dir]
    if lost:
        more = f" and {len(lost) - _MOST_NAMED} more trials" if len(lost) > _MOST_NAMED else ""
        notes.append(
            f"The directories of {', '.join(lost[:_MOST_NAMED])}{more} are gone, with their curves, logs and "
            "checkpoints. What they have ended with still counts; `orchestrate status` says how one is run "
            "again."
        )
    again = [run.name for run in runs if run.asked_again]
    if again:
        notes.append(
            f"Run again on request after they had ended: {', '.join(again)}. The later result counts."
        )
    return tuple(notes)


def explanations(effects: Iterable[Effect]) -> list[str]:
    """Return what the flags of these effects mean."""
    flags = {flag for effect in effects for flag in effect.flags}
    return [text for flag, text in _EXPLAINED.items() if flag in flags]


def _inert(reference: ArmReport, arms: tuple[ArmReport, ...], phase: str) -> list[str]:
    """Name the arms whose values are the reference's to the last bit, whatever the seed."""
    known, found = _values(reference, phase), []
    for arm in arms:
        own = _values(arm, phase)
        seeds = own.keys() & known.keys()
        if arm.arm != reference.arm and len(seeds) > 1 and all(own[seed] == known[seed] for seed in seeds):
            found.append(arm.arm)
    if not found:
        return []
    return [
        f"Equal to {reference.arm} to the last bit under every seed: {', '.join(found)}. Either the change "
        "never took effect (a setting that the code does not read, a limit that is never reached), or the "
        "metric is too coarse to show it."
    ]


def _values(arm: ArmReport, phase: str) -> dict[int, float]:
    done = (run for run in arm.of(phase) if run.state is TrialState.DONE)
    return {run.seed: run.value for run in done if run.value is not None}


def _lost(reference: ArmReport, evaluation: ReportedEvaluation) -> list[str]:
    """Name the reference's seeds that ended without a value: they cost every arm a pair."""
    ended = [run for run in reference.of(evaluation.phase) if run.state in _LOST and not run.used]
    # one beyond its last look has a value; no arm misses it
    lost = [run.seed for run in ended if run.state is not TrialState.DONE or not run.has_value]
    everything = len(lost) == len(reference.of(evaluation.phase))
    return [words.lost(reference.arm, lost, everything=everything, reference=True)] if lost else []
