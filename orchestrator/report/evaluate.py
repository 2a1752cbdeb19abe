"""One comparison of the arms: the runs of one phase, and what the statistics say about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace

from orchestrator.decide.states import TrialState
from orchestrator.record.history import CellRecord, History
from orchestrator.record.results import is_used
from orchestrator.report.model import Evaluation, LookTaken, Phase
from orchestrator.stats import effects as now
from orchestrator.stats.pairing import pairing
from orchestrator.stats.results import DETERMINISTIC, FAILS, NO_DATA, RUNG_ONLY, Effect, Sample
from orchestrator.study.cells import Plan
from orchestrator.study.spec import StudySpec

Values = Mapping[str, Mapping[int, float]]
"""Arm -> seed -> value of a run that reached full length."""


def phases(spec: StudySpec) -> tuple[Phase, ...]:
    """The phases in which arms are compared, the one to be read first in front."""
    if spec.tune is None or spec.tune.compare == "fixed":
        return ("fixed",)
    return ("retuned", "fixed") if spec.tune.compare == "both" else ("retuned",)


def evaluate(phase: Phase, spec: StudySpec, plan: Plan, history: History) -> Evaluation:
    """What the runs of `phase` say, as far as they got."""
    records = {
        arm.name: [
            history.cells[cell.cell] for cell in plan.cells if cell.arm == arm.name and cell.phase == phase
        ]
        for arm in plan.arms
    }
    values = {arm: _values(mine) for arm, mine in records.items()}
    families = _families(plan, history)
    effects, decisions = _judged(spec, plan, values, families)
    described = [_described(effect, records.get(effect.arm, [])) for effect in effects]
    others = {arm: by_seed for arm, by_seed in values.items() if arm != plan.reference}
    order = [plan.reference, *others]
    return Evaluation(
        phase=phase,
        samples={arm: Sample(*_summary(arm, values[arm])) for arm in order},
        effects=tuple(effect for effect in described if effect.kind == "main"),
        interactions=tuple(effect for effect in described if effect.kind == "interaction"),
        families=families,
        pairing=pairing(values[plan.reference], others),
        decisions=decisions,
    )


def _summary(arm: str, values: Mapping[int, float]) -> tuple[str, int, float | None, float | None]:
    sample = now.summarise(arm, values)
    return arm, sample.n, sample.mean, sample.sd


def _values(records: list[CellRecord]) -> dict[int, float]:
    return {record.seed: record.value for record in records if is_used(record) and record.value is not None}


def _families(plan: Plan, history: History) -> tuple[tuple[str, ...], ...]:
    """The arms by Holm family: those of the first plan, then each `--extend`."""
    names = [arm.name for arm in plan.arms if arm.name != plan.reference and arm.kind != "pair"]
    numbers = sorted({history.families.get(name, 0) for name in names})
    return tuple(
        tuple(name for name in names if history.families.get(name, 0) == number) for number in numbers
    )


def _judged(
    spec: StudySpec, plan: Plan, values: Values, families: tuple[tuple[str, ...], ...]
) -> tuple[list[Effect], tuple[LookTaken, ...]]:
    """Effects in the plan's order, main ones first, and the looks taken: the one call of the statistics."""
    no_claim = RUNG_ONLY if spec.stopping.rule == "asha" else _deterministic(spec, values)
    found: dict[str, Effect] = {}
    for family in families:  # arms that were added later are corrected among themselves
        for effect in now.paired_effects(
            values[plan.reference],
            {name: values[name] for name in family},
            spec.metric.mode,
            spec.report.alpha,
            reference_name=plan.reference,
            no_claim=no_claim,
        ):
            known = {field.name: getattr(effect, field.name) for field in fields(effect)}
            component = plan.arm(effect.arm).component
            found[effect.arm] = Effect(**known, components=(component,) if component else ())
    return [found[arm.name] for arm in plan.arms if arm.name in found], ()


def _deterministic(spec: StudySpec, values: Values) -> str | None:
    """Seeds that change nothing are no sample: then there is nothing to build an interval from."""
    same = all(len(set(by_seed.values())) <= 1 for by_seed in values.values())
    repeated = any(len(by_seed) > 1 for by_seed in values.values())
    return DETERMINISTIC if spec.deterministic and same and repeated else None


def _described(effect: Effect, records: list[CellRecord]) -> Effect:
    """The effect with what only the records know: what happened to the runs that are not in it."""
    failed = sum(record.state in (TrialState.FAILED, TrialState.DIVERGED) for record in records)
    stopped = sum(record.state is TrialState.STOPPED for record in records)
    told = [f"{failed} failed"] if failed else []
    told += [f"{stopped} stopped"] if stopped else []
    told += ["conditional"] if effect.n and told else []
    verdict = effect.verdict
    if verdict == NO_DATA and failed and failed == len(records):
        verdict = FAILS
    elif verdict == NO_DATA and stopped:
        verdict = RUNG_ONLY
    flags = (*effect.flags, *(flag for flag in told if flag not in effect.flags))
    return replace(effect, flags=flags, verdict=verdict)
