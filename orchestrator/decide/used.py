"""Which runs enter the effects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from orchestrator.decide.agenda import Judged, agenda
from orchestrator.decide.evaluation import Facts, final_value
from orchestrator.decide.pairs import interaction_cells
from orchestrator.decide.stopping import rule_of
from orchestrator.study.cells import TUNE, Plan
from orchestrator.study.spec import StudySpec


def used_cells(
    spec: StudySpec, plan: Plan, facts: Mapping[str, Facts], families: Mapping[str, int]
) -> frozenset[str]:
    """Cells whose value is in an effect: full length, not a sample, and not beyond the arm's latest look, or
    its first one while that has not been taken.

    Where the value that it is paired with is missing, a cell is in no Δ, but in its arm's mean and in the
    pooled variance.
    """
    valued = {cell.cell for cell in plan.cells if final_value(facts[cell.cell]) is not None}
    looks = rule_of(spec).looks(spec)
    if not looks:
        return frozenset(cell.cell for cell in plan.cells if cell.cell in valued and cell.phase != TUNE)
    used = {cell.cell for cell in interaction_cells(spec, plan)}
    for judged in agenda(spec, plan, facts, families).judged:
        used |= set(_looked_at(judged, looks[0]))
    return frozenset(used & valued)


def _looked_at(judged: Judged, first: int) -> Iterator[str]:
    """Yield the cells that the latest look at each arm has seen, and the reference's of the largest of them.

    Before an arm's look after `first` seeds its Δ comes from what there is of these seeds.
    """
    evaluation = judged.evaluation
    last = dict.fromkeys(range(1, len(evaluation.arms)), first)
    last |= {look.arm: look.number for look in judged.course.looks}
    for row, number in {**last, 0: max(last.values(), default=0)}.items():
        for seed in evaluation.seeds[:number]:
            cell = evaluation.cells.get((evaluation.arms[row], seed))
            if cell is not None:
                yield cell
