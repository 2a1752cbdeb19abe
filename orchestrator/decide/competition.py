"""Who competes with whom at a rung: all trials under `asha`, the samples of one arm while it is tuned."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.decide.asha import StoppingRule
from orchestrator.decide.rungs import rungs
from orchestrator.study.cells import TUNE, Cell
from orchestrator.study.spec import StudySpec

_ALONE = StoppingRule("none")


@dataclass(frozen=True)
class Competition:
    """The rule that a cell is under, the group whose scores it is compared with, and whether it may be
    stopped.
    """

    rule: StoppingRule
    group: str = ""
    protected: bool = False


def competition(spec: StudySpec, reference: str, cell: Cell) -> Competition:
    """What decides about `cell` at a rung. The reference arm is protected, except while it is tuned."""
    if cell.phase == TUNE:
        return Competition(tune_rule(spec), f"{TUNE}:{cell.arm}")
    return Competition(stopping_rule(spec), protected=cell.arm == reference)


def stopping_rule(spec: StudySpec) -> StoppingRule:
    """How trials are stopped early in the evaluation: only `asha` ever does; `resolve` saves whole seeds."""
    stopping = spec.stopping
    if stopping.rule != "asha":
        return _ALONE
    ladder = rungs(stopping.grace, stopping.reduction, stopping.max)
    return StoppingRule("asha", ladder, float(stopping.reduction))


def tune_rule(spec: StudySpec) -> StoppingRule:
    """How samples of one arm are stopped."""
    if spec.tune is None or spec.tune.stopping.rule == "none":
        return _ALONE
    stopping = spec.tune.stopping
    ladder = rungs(stopping.grace, stopping.reduction, spec.stopping.max)
    return StoppingRule("asha", ladder, float(stopping.reduction))
