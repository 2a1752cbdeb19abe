"""What a way of running a study says about it, from recorded curves, beside what the reference says.

The project's own rules are followed by the code that decides in a running study and in `orchestrate simulate
--from`. A seed of a drawn study is one
of the recorded ones, under a number of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

import numpy as np
from curves import Recorded

from orchestrator.decide.resolve import resolve
from orchestrator.decide.rungs import Passed, curve_rungs
from orchestrator.decide.sequential import RESOLVE
from orchestrator.decide.states import TrialState
from orchestrator.record.state import StudyState, TrialRecord
from orchestrator.simulate.recorded import RecordedVerdict, Replay, replays
from orchestrator.stats.results import DIFFERENT, EQUIVALENT
from orchestrator.study.cells import Plan, make_plan
from orchestrator.study.spec import StudySpec

GRID, ASHA = "none", "asha"
GOALS = ("save", "screen", "reinvest")
RULES = {GRID: "the grid", **{goal: f"`resolve`, {goal}" for goal in GOALS}, ASHA: "`asha` ¹"}
LANES = 2
OPEN = "open"


@dataclass(frozen=True)
class Answer:
    """What is said about one study; higher is better everywhere.

    `trained`: epochs or steps, over those of the grid; `verdicts`: of every arm `better`, `worse`,
    `equivalent` or `open`, empty for a way that claims nothing; `scores`: of the reference and every arm,
    None where nothing has come to its end.
    """

    trained: float
    verdicts: tuple[str, ...]
    scores: tuple[float | None, ...]

    @property
    def best(self) -> int | None:
        """Row of the highest score, 0 for the reference."""
        there = [(score, -row) for row, score in enumerate(self.scores) if score is not None]
        return -max(there)[1] if there else None

    def sign(self, row: int) -> float | None:
        """Whether that arm looks better (1) or worse (-1) than the reference; None where one has no score."""
        arm, reference = self.scores[row], self.scores[0]
        return None if arm is None or reference is None else float(np.sign(arm - reference))


@dataclass(frozen=True)
class Drawing:
    """Studies of `seeds` seeds that are drawn from a recorded one; their plan has room for `reinvest`."""

    recorded: Recorded
    seeds: int

    @property
    def spec(self) -> StudySpec:
        """The study file with so many seeds."""
        spec = self.recorded.spec
        stopping = spec.stopping.model_copy(update={"rule": "resolve", "goal": "reinvest"})
        return spec.model_copy(update={"seeds": tuple(range(self.seeds)), "stopping": stopping})

    def picked(self, seed: int, index: int, most: int) -> list[int]:
        """Which of the recorded seeds the study number `index` of the series `seed` has, in its order."""
        return np.random.default_rng([seed, index]).permutation(self.recorded.seeds)[:most].tolist()


def most_seeds(plan: Plan) -> int:
    """How many seeds an arm of the plan may get."""
    return 1 + max(cell.seed for cell in plan.cells)


def history(recorded: Recorded, spec: StudySpec, plan: Plan, picked: Sequence[int]) -> StudyState:
    """Return the record of a study whose every run was made; its seed number i is `picked[i]`."""
    records = {
        cell.cell: _ended(TrialRecord.of(cell), spec, recorded, picked[cell.seed]) for cell in plan.cells
    }
    return StudyState(plan, records)


def _ended(record: TrialRecord, spec: StudySpec, recorded: Recorded, seed: int) -> TrialRecord:
    values = recorded.curves[record.arm][seed]
    *curve, value = _seen(recorded, spec, record.arm, seed)
    whole = not math.isnan(value)
    return replace(
        record,
        state=TrialState.DONE if whole else TrialState.DIVERGED,
        length=recorded.lengths[len(values) - 1] if values else 0.0,
        value=value if whole else None,
        curve=tuple(None if math.isnan(at) else at for at in curve),
    )


def _seen(recorded: Recorded, spec: StudySpec, arm: str, seed: int) -> list[float]:
    """Return what the run counted with at the rungs that a record keeps, and at its end; NaN: nothing."""
    values, stopping = recorded.curves[arm][seed], spec.stopping
    passed = Passed(curve_rungs(stopping.grace, stopping.reduction, float(stopping.max)))
    for length, value in zip(recorded.lengths, values, strict=False):
        passed.take(length, value)
    end = values[-1] if len(values) == len(recorded.lengths) else None
    return [math.nan if value is None else value for value in (*passed.values.values(), end)]


def replayed(recorded: Recorded, spec: StudySpec, plan: Plan, picked: Sequence[int]) -> dict[str, Answer]:
    """Follow each rule through the drawn study."""
    found = {GRID: recorded_answer(recorded, spec, plan, picked, GRID)}
    for goal in GOALS:
        found[goal] = followed(recorded, _with_goal(spec, goal), picked)
    found[ASHA] = recorded_answer(recorded, spec, plan, picked, ASHA)
    return found


def followed(recorded: Recorded, spec: StudySpec, picked: Sequence[int]) -> Answer:
    """Follow `resolve` by what decides in a running study; runs that it asks for go to their end.

    The same as `recorded_answer`, without the adjusted p-values of a report, which take most of its time.
    """
    sign = 1.0 if spec.metric.mode == "max" else -1.0
    curves = sign * np.array([[_seen(recorded, spec, arm, seed) for seed in picked] for arm in recorded.arms])
    rule = RESOLVE.on_seeds(spec, len(recorded.arms) - 1)
    values = curves[:, :, -1]
    course = resolve(rule, values, np.ones(values.shape, dtype=np.bool_), curves)
    ends = [course.final[row] for row in range(1, len(recorded.arms))]
    verdicts = tuple(_claim(end.action, end.mean) for end in ends)
    lengths = (
        recorded.lengths[len(recorded.curves[recorded.arms[row]][picked[column]]) - 1]
        for row, column in course.needed
    )
    grid = len(recorded.arms) * len(spec.seeds) * float(spec.stopping.max)
    return Answer(math.fsum(lengths) / grid, verdicts, (0.0, *(end.mean for end in ends)))


def _claim(action: str, mean: float | None) -> str:
    if action == "different" and mean is not None:
        return "better" if mean > 0 else "worse"
    return "equivalent" if action == "equivalent" else OPEN


def _with_goal(spec: StudySpec, goal: str) -> StudySpec:
    return spec.model_copy(update={"stopping": spec.stopping.model_copy(update={"goal": goal})})


def recorded_answer(
    recorded: Recorded, spec: StudySpec, plan: Plan, picked: Sequence[int], rule: str
) -> Answer:
    """Ask what `orchestrate simulate --from` says of the drawn study under that rule."""

    def rows(record: TrialRecord) -> list[dict[str, Any]]:
        values = recorded.curves[record.arm][picked[record.seed]]
        seen = zip(recorded.lengths, values, strict=False)
        return [{spec.stopping.unit: length, spec.metric.name: value} for length, value in seen]

    (found,) = replays(spec, history(recorded, spec, plan, picked), [rule], rows, LANES)
    return _answer(found, spec.metric.mode)


def _answer(one: Replay, mode: str) -> Answer:
    sign = 1.0 if mode == "max" else -1.0
    scores = (None if said.delta is None else sign * said.delta for said in one.said)
    verdicts = tuple(_word(said, sign) for said in one.said)
    return Answer(one.length / one.grid_length, verdicts, (0.0, *scores))


def _word(said: RecordedVerdict, sign: float) -> str:
    if said.verdict in DIFFERENT and said.delta is not None:
        return "better" if sign * said.delta > 0 else "worse"
    return "equivalent" if said.verdict == EQUIVALENT else OPEN


def reference(recorded: Recorded) -> Answer:
    """Return what all recorded seeds say: the whole grid, with the study's own test."""
    spec = recorded.spec.model_copy(update={"seeds": tuple(range(recorded.seeds))})
    plan = make_plan(spec)
    return recorded_answer(recorded, spec, plan, range(recorded.seeds), GRID)


def compared(answers: Sequence[Answer], truth: Answer, margin: float | None) -> dict[str, Any]:
    """Means over the drawn studies.

    `said`: how many arms are called different, equivalent, left open; `same`: share of arms of which a way
    says what the reference says; `found`: of those that are different in the reference; `against`: arms a
    study of which it claims what the reference contradicts, `unconfirmed`: that they differ where the
    reference leaves them open; `studies_against`: share of studies with a claim against the reference;
    `signs`: share of the reference's differences whose sign is right; `best`: share of studies with the
    reference's best arm; `without`: arms a study without any value.
    """
    rows = range(1, len(truth.scores))
    differ = [row for row in rows if truth.verdicts[row - 1] in ("better", "worse")]
    found: dict[str, Any] = {
        "studies": len(answers),
        "trained": fmean(one.trained for one in answers),
        "signs": _share(one.sign(row) == truth.sign(row) for one in answers for row in differ),
        "best": _share(one.best == truth.best for one in answers),
        "without": fmean(sum(score is None for score in one.scores) for one in answers),
    }
    if not answers[0].verdicts:
        return found
    pairs = [(one.verdicts[row - 1], truth.verdicts[row - 1], row) for one in answers for row in rows]
    wrong = [[_against(one, truth, row, margin) for row in rows] for one in answers]
    return found | {
        "said": _counts([one.verdicts for one in answers]),
        "same": _share(said == right for said, right, _ in pairs),
        "found": _share(said == right for said, right, row in pairs if row in differ),
        "against": fmean(sum(arms) for arms in wrong),
        "studies_against": _share(any(arms) for arms in wrong),
        "unconfirmed": sum(said in ("better", "worse") and right == OPEN for said, right, _ in pairs)
        / len(answers),
    }


def _against(one: Answer, truth: Answer, row: int, margin: float | None) -> bool:
    """Whether a claim is contradicted: other direction, an effect where there is none, none where one is."""
    said, right = one.verdicts[row - 1], truth.verdicts[row - 1]
    if said in ("better", "worse"):
        return right == "equivalent" or {said, right} == {"better", "worse"}
    size = truth.scores[row]
    beyond = margin is not None and size is not None and abs(size) > margin
    return said == "equivalent" and right in ("better", "worse") and beyond


def _counts(verdicts: Sequence[Sequence[str]]) -> dict[str, float]:
    said = {"different": ("better", "worse"), "equivalent": ("equivalent",), OPEN: (OPEN,)}
    return {
        name: fmean(sum(verdict in words for verdict in one) for one in verdicts)
        for name, words in said.items()
    }


def _share(answers: Any) -> float | None:
    seen = [float(answer) for answer in answers]
    return fmean(seen) if seen else None


def told(truth: Answer, arms: Sequence[str]) -> Mapping[str, tuple[str, float | None]]:
    """Arm -> what all recorded seeds say of it, and its oriented difference."""
    return {arm: (truth.verdicts[row - 1], truth.scores[row]) for row, arm in enumerate(arms[1:], start=1)}
