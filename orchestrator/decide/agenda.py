"""What is left to do: which cells must run, which may, which never will, and which are to be added.

A pure function of plan and results. The driver asks it when it starts and whenever one of the groups of cells
that the answer waits for has ended; so a study that is interrupted anywhere goes on as it would have without
the interruption.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from orchestrator.decide.evaluation import (
    Evaluation,
    Facts,
    evaluations,
    final_value,
    is_outcome,
    table,
)
from orchestrator.decide.failing import spent
from orchestrator.decide.pairs import (
    interaction_batch,
    interaction_cells,
    resolved_on_grid,
    undecided_arms,
    wants_pairs,
)
from orchestrator.decide.resolve import ArmLook, Course, ResolveRule, resolve
from orchestrator.decide.stopping import rule_of
from orchestrator.decide.tuning import proposals, tunings, winners
from orchestrator.stats.results import Mode
from orchestrator.study.cells import FIXED, RETUNED, TUNE, Batch, Cell, Plan
from orchestrator.study.designs import chosen_later
from orchestrator.study.spec import StudySpec


@dataclass(frozen=True)
class Judged:
    """An evaluation with the course of its sequential rule so far; values in the course are oriented."""

    evaluation: Evaluation
    course: Course

    def arm(self, look: ArmLook) -> str:
        """Return the arm that a look is about."""
        return self.evaluation.arms[look.arm]


@dataclass
class Agenda:
    """Identities of cells.

    `wanted`: have not ended and have to, in the order in which they start; `ahead`: may run on lanes that
    would be idle; `skip`: will not be needed, with the reason; `batches`: to be added to the plan, after
    which the agenda is to be asked again; `judged`: what the sequential rule has found so far; `awaited`:
    groups of cells: until the last one of some group has ended, the answer stays the same but for what has
    ended.
    """

    wanted: list[str] = field(default_factory=list)
    ahead: list[str] = field(default_factory=list)
    skip: dict[str, str] = field(default_factory=dict)
    batches: list[Batch] = field(default_factory=list)
    judged: list[Judged] = field(default_factory=list)
    awaited: list[list[str]] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Nothing has to be run or added any more."""
        return not self.wanted and not self.batches


def agenda(spec: StudySpec, plan: Plan, facts: Mapping[str, Facts], families: Mapping[str, int]) -> Agenda:
    """Return what is left to do, given what is known of every cell of the plan."""
    made = Agenda()
    found = tunings(spec, plan, facts)
    made.wanted += _open((cell for cell in plan.cells if cell.phase == TUNE), facts)
    made.awaited += [_open(arm.samples, facts) for arm in found]
    made.batches += [*proposals(spec, plan, found, facts), *winners(spec, plan, found)]
    lost = {arm.arm for arm in found if arm.complete and arm.winner is None}
    fruitless = spent(spec.failures.stop_when, plan, facts)
    for evaluation in evaluations(spec, plan, families):
        rule = rule_of(spec).on_seeds(spec, len(evaluation.arms) - 1)
        if rule is None:
            _grid(made, _cells(plan, evaluation), facts, fruitless)
        else:
            _sequential(made, spec, plan, evaluation, rule, facts, lost)
    _grid(made, interaction_cells(spec, plan), facts, fruitless)
    if made.complete and wants_pairs(spec, plan):
        resolved = _resolved(spec, plan, facts, made.judged)
        batch = interaction_batch(spec, resolved)
        made.batches += [batch] if batch else []
    return _tidy(made)


def _tidy(made: Agenda) -> Agenda:
    """Every cell once, in the strongest of its roles."""
    made.wanted = list(dict.fromkeys(made.wanted))
    known = set(made.wanted)
    made.ahead = [cell for cell in dict.fromkeys(made.ahead) if cell not in known]
    made.skip = {cell: why for cell, why in made.skip.items() if cell not in known}
    made.awaited = [group for group in (*made.awaited, made.wanted) if group]
    return made


def depends_on_results(spec: StudySpec) -> bool:
    """Whether the agenda changes while the study runs, but for what has ended."""
    return bool(rule_of(spec).looks(spec)) or spec.tune is not None or chosen_later(spec)


def _open(cells: Iterable[Cell], facts: Mapping[str, Facts]) -> list[str]:
    return [cell.cell for cell in cells if not is_outcome(facts[cell.cell])]


def _grid(made: Agenda, cells: Iterable[Cell], facts: Mapping[str, Facts], spent: Mapping[str, str]) -> None:
    """Add cells that all have to run, but for those of arms of which every run so far has failed."""
    left = _open(cells, facts)
    made.wanted += [cell for cell in left if cell not in spent]
    made.skip.update((cell, spent[cell]) for cell in left if cell in spent)


def _sequential(
    made: Agenda,
    spec: StudySpec,
    plan: Plan,
    evaluation: Evaluation,
    rule: ResolveRule,
    facts: Mapping[str, Facts],
    lost: set[str],
) -> None:
    """Add what the sequential rule wants of one evaluation. `lost`: arms whose search found no winner."""
    if evaluation.phase == RETUNED and plan.reference in lost:
        why = f"tune: no sample of {plan.reference} reached full length"
        made.skip.update(dict.fromkeys(_open(_cells(plan, evaluation), facts), why))
        return
    without = lost if evaluation.phase == RETUNED else set()
    course = follow(rule, spec.metric.claimed_mode, evaluation, facts, without)
    made.judged.append(Judged(evaluation, course))

    def cells(places: Iterable[tuple[int, int]]) -> list[str]:
        names = ((evaluation.arms[row], evaluation.seeds[column]) for row, column in places)
        return [evaluation.cells[name] for name in names if name in evaluation.cells]

    made.wanted += cells(course.wanted)
    made.awaited.append(cells(course.wanted[: course.awaited]))
    made.ahead += cells(course.ahead)
    held = undecided_arms(spec, plan, [judged.course.finished for judged in made.judged])
    rows = range(len(evaluation.arms))
    for row in rows:
        if evaluation.arms[row] in held:
            continue
        reason = _no_longer_needed(course, row)
        if reason is not None:
            places = [(row, i) for i in range(len(evaluation.seeds)) if (row, i) not in course.needed]
            made.skip.update((cell, reason) for cell in cells(places) if not is_outcome(facts[cell]))


def _no_longer_needed(course: Course, row: int) -> str | None:
    """Why an arm gets no more seeds; None while it may."""
    last = course.final.get(row)
    if last is not None:
        return f"{in_words(last)} after {last.number} seed{'' if last.number == 1 else 's'}"
    return "no arm needs it" if course.finished else None


def in_words(look: ArmLook) -> str:
    """Return what a look has led to: `goes on`, `different`, `futile`, `parked`, `unresolved`."""
    if look.action == "futile" and look.mean is None:  # there is no pair: all runs of one side failed
        return "all failed"
    words = {"continue": "goes on", "last look": "unresolved", "budget spent": "unresolved, budget spent"}
    return words.get(look.action, look.action)


def follow(
    rule: ResolveRule,
    mode: Mode,
    evaluation: Evaluation,
    facts: Mapping[str, Facts],
    lost: Iterable[str] = (),
) -> Course:
    """Follow the sequential rule over an evaluation. Arms in `lost` count as failed under every seed."""
    results = table(evaluation, facts)
    sign = 1 if mode == "max" else -1
    ended = results.ended.copy()
    for arm in lost:
        ended[evaluation.arms.index(arm)] = True
    return resolve(rule, sign * results.values, ended, sign * results.curves)


def _resolved(
    spec: StudySpec, plan: Plan, facts: Mapping[str, Facts], judged: Iterable[Judged]
) -> frozenset[str]:
    """Arms of the first family whose effect is different from zero."""
    for one in judged:
        if (one.evaluation.phase, one.evaluation.family) == (FIXED, 0):
            different = (look for look in one.course.final.values() if look.action == "different")
            return frozenset(one.arm(look) for look in different)
    return resolved_on_grid(spec, plan, facts)


def _cells(plan: Plan, evaluation: Evaluation) -> Iterable[Cell]:
    return (plan.cell(cell) for (arm, _), cell in evaluation.cells.items() if arm in evaluation.arms)


def used_cells(
    spec: StudySpec, plan: Plan, facts: Mapping[str, Facts], families: Mapping[str, int]
) -> frozenset[str]:
    """Cells whose value is in an effect: full length, not a sample, and not beyond the arm's latest look, or
    its first one while that has not been taken.

    Where the value that it is paired with is missing, a cell is in no Δ, but in its arm's mean and in the
    pooled variance.
    """
    valued = {cell.cell for cell in plan.cells if final_value(facts[cell.cell]) is not None}
    if not rule_of(spec).looks(spec):
        return frozenset(cell.cell for cell in plan.cells if cell.cell in valued and cell.phase != TUNE)
    used = {cell.cell for cell in interaction_cells(spec, plan)}
    for judged in agenda(spec, plan, facts, families).judged:
        rule = rule_of(spec).on_seeds(spec, len(judged.evaluation.arms) - 1)
        assert rule is not None, "it has looks"
        used |= set(_looked_at(judged, rule))
    return frozenset(used & valued)


def _looked_at(judged: Judged, rule: ResolveRule) -> Iterator[str]:
    """Yield the cells that the latest look at each arm has seen, and the reference's of the largest of them.

    Before an arm's first look its Δ comes from what there is of these seeds.
    """
    evaluation = judged.evaluation
    last = dict.fromkeys(range(1, len(evaluation.arms)), rule.steps[0])
    last |= {look.arm: look.number for look in judged.course.looks}
    for row, number in {**last, 0: max(last.values(), default=0) and max(rule.base, *last.values())}.items():
        for seed in evaluation.seeds[:number]:
            cell = evaluation.cells.get((evaluation.arms[row], seed))
            if cell is not None:
                yield cell
