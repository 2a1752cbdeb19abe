"""Equal tuning: every arm gets the same search, and its winner is compared on fresh seeds.

Melis et al. 2017 (arXiv 1707.05589): conclusions about parts of a recipe turn round when the arms are not
tuned alike. Samples compete with samples of their own arm only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.decide.evaluation import Facts, final_value, is_outcome
from orchestrator.study.cells import RETUNED, TUNE, Batch, Cell, Plan, evaluation_seeds, make_cells
from orchestrator.study.registered import SEARCHES
from orchestrator.study.search import Params, seed_text, study_space
from orchestrator.study.spec import StudySpec, TuneSpec

ROUND = 2
"""Proposals of an adaptive search that are made from the same results, for each arm."""


@dataclass(frozen=True)
class ArmTuning:
    """One arm's search. `complete`: its samples have ended; `winner`: the best that reached full length."""

    arm: str
    samples: tuple[Cell, ...]
    complete: bool
    winner: Cell | None


def tunings(spec: StudySpec, plan: Plan, facts: Mapping[str, Facts]) -> tuple[ArmTuning, ...]:
    """Every arm's search as far as it got, the reference first; empty when nothing is tuned."""
    if spec.tune is None or not spec.tune.searches:
        return ()
    by_arm: dict[str, list[Cell]] = {arm.name: [] for arm in plan.arms if arm.kind != "pair"}
    for cell in plan.cells:
        if cell.phase == TUNE:
            by_arm[cell.arm].append(cell)
    return tuple(_tuning(spec, spec.tune, arm, cells, facts) for arm, cells in by_arm.items())


def _tuning(
    spec: StudySpec, tune: TuneSpec, arm: str, cells: list[Cell], facts: Mapping[str, Facts]
) -> ArmTuning:
    ended = all(is_outcome(facts[cell.cell]) for cell in cells)
    whole = not SEARCHES.get(tune.search).adaptive or len(cells) >= tune.samples
    scored = [(score, cell) for cell in cells if (score := _score(spec, facts[cell.cell])) is not None]
    finished = [(score, cell) for score, cell in scored if final_value(facts[cell.cell]) is not None]
    best = max(finished, key=lambda pair: (pair[0], -(pair[1].sample or 0)), default=None)
    complete = ended and whole
    return ArmTuning(arm, tuple(cells), complete, best[1] if complete and best else None)


def _score(spec: StudySpec, fact: Facts) -> float | None:
    """Return what a sample reached, oriented; of one that was stopped, where it was stopped."""
    if fact.value is None or not math.isfinite(fact.value) or not is_outcome(fact):
        return None
    return fact.value if spec.metric.mode == "max" else -fact.value


def proposals(
    spec: StudySpec, plan: Plan, found: tuple[ArmTuning, ...], facts: Mapping[str, Facts]
) -> list[Batch]:
    """Return the next samples of an adaptive search, in rounds: who was faster makes no difference."""
    tune = spec.tune
    if tune is None or not (search := SEARCHES.get(tune.search)).adaptive:
        return []
    space = study_space(spec)
    batches = []
    for arm in found:
        made = len(arm.samples)
        if made >= tune.samples or not all(is_outcome(facts[cell.cell]) for cell in arm.samples):
            continue
        # one that failed is as bad as the worst; only one that runs has no score yet
        scores = [_score(spec, facts[cell.cell]) for cell in arm.samples]
        tried: list[tuple[Params, float | None]] = [
            (dict(cell.set), math.nan if score is None else score)
            for cell, score in zip(arm.samples, scores, strict=True)
        ]
        cells: list[Cell] = []
        for sample in range(made, min(made + ROUND, tune.samples)):
            chosen = search.suggest(space, tried, sample, seed_text(tune))
            tried.append((chosen, None))
            cells += make_cells(spec, [plan.arm(arm.arm)], [tune.seed], TUNE, sample, chosen)
        batches.append(Batch(f"tune: samples of {arm.arm} that its results suggest", (), tuple(cells)))
    return batches


def winners(spec: StudySpec, plan: Plan, found: tuple[ArmTuning, ...]) -> list[Batch]:
    """Return the evaluation of every arm whose search has ended, if it is not in the plan yet."""
    evaluated = {cell.arm for cell in plan.cells if cell.phase == RETUNED}
    batches = []
    for arm in found:
        if arm.winner is None or arm.arm in evaluated:
            continue
        cells = make_cells(spec, [plan.arm(arm.arm)], evaluation_seeds(spec), RETUNED, None, arm.winner.set)
        reason = f"tune: the winner of {arm.arm} is sample {arm.winner.sample}"
        batches.append(Batch(reason, (), tuple(cells)))
    return batches
