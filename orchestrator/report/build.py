"""From the records of a study to its report: the one place that computes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from orchestrator.decide.evaluation import final_value
from orchestrator.decide.states import TrialState
from orchestrator.record.history import CellRecord, History
from orchestrator.record.layout import StudyPaths
from orchestrator.record.storage import Storage
from orchestrator.report.model import FULL_LENGTH, RUNG_ONLY, ArmReport, Cost, Run, StudyReport
from orchestrator.stats.effects import NO_DATA, Effect, fixed_effects, summarise
from orchestrator.stats.pairing import pairing
from orchestrator.study.cells import Arm, Plan
from orchestrator.study.contrasts import Contrast
from orchestrator.study.spec import StudySpec

_SAVING = (TrialState.STOPPED, TrialState.DIVERGED, TrialState.SKIPPED)


def build_report(
    storage: Storage, paths: StudyPaths, spec: StudySpec, plan: Plan, history: History
) -> StudyReport:
    """Everything that a report says about the study as far as it got; reads no files and writes none."""
    values = {arm.name: _values(plan, history, arm.name) for arm in plan.arms}
    tier: Literal["full-length", "rung-only"] = RUNG_ONLY if spec.stopping.rule == "asha" else FULL_LENGTH
    reference, others = values[plan.reference], {k: v for k, v in values.items() if k != plan.reference}
    no_claim = RUNG_ONLY if tier == RUNG_ONLY else _deterministic(spec, values)
    by_arm: dict[str, Effect] = {}
    families = _families(history, others)
    for family in families:  # arms that were added later are corrected among themselves
        found = fixed_effects(
            values,
            [_contrast(plan.arm(name), plan.reference) for name in family],
            spec.metric.mode,
            alpha=spec.report.alpha,
            margin=spec.report.margin,
            variance=spec.report.variance,
            failures={arm.name: _failures(plan, history, arm.name) for arm in plan.arms},
            no_claim=no_claim,
        )
        by_arm |= {effect.arm: effect for effect in found}
    arms = {arm.name: _arm(arm, plan, history, paths, values, by_arm.get(arm.name)) for arm in plan.arms}
    left = history.remaining(retry_failed=False)
    return StudyReport(
        study=plan.study,
        metric=spec.metric.name,
        mode=spec.metric.mode,
        unit=spec.stopping.unit,
        max_length=spec.stopping.max,
        rule=spec.stopping.rule,
        tier=tier,
        alpha=spec.report.alpha,
        margin=spec.report.margin,
        reference=arms[plan.reference],
        arms=tuple(arm for name, arm in arms.items() if name != plan.reference),
        families=families,
        pairing=pairing(reference, others),
        cost=_cost(history, spec.stopping.max),
        ended=len(plan.cells) - len(left),
        total=len(plan.cells),
        complete=not left,
        notes=_notes(spec, arms[plan.reference], tuple(arms.values())),
        location=str(storage.local_path(paths.root)) if storage.is_local else f"{storage.uri}/{paths.root}",
        is_local=storage.is_local,
    )


def _families(history: History, arms: Mapping[str, object]) -> tuple[tuple[str, ...], ...]:
    """The arms by Holm family: those of the first plan, then each `--extend`."""
    numbers = sorted({history.families.get(name, 0) for name in arms})
    return tuple(
        tuple(name for name in arms if history.families.get(name, 0) == number) for number in numbers
    )


def _contrast(arm: Arm, reference: str) -> Contrast:
    components = (arm.component,) if arm.component else ()
    return Contrast(arm.name, "main", components, {arm.name: 1, reference: -1}, reference)


def _failures(plan: Plan, history: History, arm: str) -> tuple[int, int]:
    """Runs of `arm` that failed or diverged, and all its runs."""
    states = [history.cells[cell.cell].state for cell in plan.cells if cell.arm == arm]
    return sum(state in (TrialState.FAILED, TrialState.DIVERGED) for state in states), len(states)


def _values(plan: Plan, history: History, arm: str) -> dict[int, float]:
    """Seed -> value of the runs of `arm` that reached full length."""
    records = (history.cells[cell.cell] for cell in plan.cells if cell.arm == arm)
    return {
        record.seed: record.value
        for record in records
        if (final_value(record) is not None) and record.value is not None
    }


def _deterministic(spec: StudySpec, values: Mapping[str, Mapping[int, float]]) -> str | None:
    """Seeds that change nothing are no sample: then there is nothing to build an interval from."""
    same = all(len(set(by_seed.values())) <= 1 for by_seed in values.values())
    repeated = any(len(by_seed) > 1 for by_seed in values.values())
    return "deterministic" if spec.deterministic and same and repeated else None


def _arm(
    arm: Arm,
    plan: Plan,
    history: History,
    paths: StudyPaths,
    values: Mapping[str, Mapping[int, float]],
    effect: Effect | None,
) -> ArmReport:
    records = [history.cells[cell.cell] for cell in plan.cells if cell.arm == arm.name]
    records.sort(key=lambda record: (record.seed, record.phase, record.sample or 0))
    built = ArmReport(
        arm=arm.name,
        kind=arm.kind,
        component=arm.component,
        why=arm.why,
        change=dict(arm.set),
        runs=tuple(_run(record, paths) for record in records),
        summary=summarise(arm.name, values[arm.name]),
        wall_s=sum(record.wall_s for record in records),
        gpu_s=sum(record.gpu_s for record in records),
    )
    return built if effect is None else replace(built, effect=_described(effect, built))


def _described(effect: Effect, arm: ArmReport) -> Effect:
    """The effect with what only the records know: what happened to the runs that are not in it."""
    flags = [flag for flag in effect.flags if flag != "conditional"]
    stopped = arm.count(TrialState.STOPPED)
    flags += [f"{stopped} stopped"] if stopped else []
    flags += ["conditional"] if effect.n and (arm.failed or stopped) else []
    verdict = effect.verdict
    if verdict == NO_DATA and stopped:
        verdict = RUNG_ONLY
    return replace(effect, flags=tuple(flags), verdict=verdict)


def _run(record: CellRecord, paths: StudyPaths) -> Run:
    folder = paths.trial_dir(record.arm, record.seed, record.sample, record.phase)
    return Run(
        cell=record.cell,
        seed=record.seed,
        state=record.state,
        cause=record.cause,
        reason=record.reason,
        length=record.length,
        value=record.value,
        used=(final_value(record) is not None),
        attempts=record.attempts,
        trial_dir=folder.removeprefix(f"{paths.root}/"),
        accepted_code_change=record.accepted_code_change,
    )


def _cost(history: History, max_length: float) -> Cost:
    records = history.cells.values()
    grid = max_length * len(history.cells)
    untrained = sum(
        max(0.0, max_length - (record.length or 0.0)) for record in records if record.state in _SAVING
    )
    return Cost(
        wall_s=sum(record.wall_s for record in records),
        gpu_s=sum(record.gpu_s for record in records),
        spent=sum(record.length or 0.0 for record in records),
        grid=grid,
        saved=untrained / grid if grid else 0.0,
    )


def _notes(spec: StudySpec, reference: ArmReport, arms: tuple[ArmReport, ...]) -> tuple[str, ...]:
    """What a reader of the table must know, in full sentences."""
    notes = []
    if len(spec.seeds) == 1:
        notes.append("One seed: there are no intervals and no p-values, so no difference is a finding yet.")
    lost = [run.seed for run in reference.runs if run.state.terminal and not run.used]
    if lost:
        seeds = ", ".join(map(str, lost))
        notes.append(
            f"{reference.arm} has no value for seed {seeds}: every arm loses its pair there."
            if len(lost) == 1
            else f"{reference.arm} has no values for seeds {seeds}: every arm loses its pairs there."
        )
    flags = {flag for arm in arms if arm.effect for flag in arm.effect.flags}
    if "zero variance" in flags:
        notes.append(
            "Where all differences are equal the interval has no width; with few seeds and a coarse "
            "metric that is no proof of precision."
        )
    if "conditional" in flags:
        notes.append(
            "Where runs failed or were stopped, Δ holds for the seeds that reached full length only."
        )
    if any(arm.effect and arm.effect.verdict == "deterministic" for arm in arms):
        notes.append("The study is deterministic: seeds change nothing, so there are no intervals.")
    changed = sum(run.accepted_code_change for arm in arms for run in arm.runs)
    if changed:
        notes.append(f"{changed} runs used changed code that was accepted with --accept-code-change.")
    return tuple(notes)
