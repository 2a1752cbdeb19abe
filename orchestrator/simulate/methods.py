"""The methods that are compared: each takes a simulated study and says what it found and what it spent.

No method decides anything itself: early stopping is `decide.rungs`, the sequential rule `decide.resolve`,
tests and corrections are `stats`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
from numpy.typing import NDArray

from orchestrator.decide.asha import Halving
from orchestrator.decide.resolve import ResolveRule, resolve
from orchestrator.decide.rungs import RungRule
from orchestrator.decide.states import TrialState
from orchestrator.decide.stopping import Variant, stopping_rule
from orchestrator.simulate.asha import Point, SimulatedCurve, matched, replay
from orchestrator.simulate.generator import RUNGS, GeneratedStudy
from orchestrator.stats.holm import holm
from orchestrator.stats.moderated import FIRST, Estimates, Pooling, Variance, estimate
from orchestrator.study.registered import GOALS, RULES
from orchestrator.study.spec import StudySpec

Float = NDArray[np.float64]


@dataclass(frozen=True)
class SimulatedDesign:
    """What was registered: seeds per arm, level, margin in the values' unit; lanes and reduction of ASHA."""

    seeds: int = 5
    alpha: float = 0.05
    margin: float | None = None
    lanes: int = 8
    reduction: float = 3


@dataclass(frozen=True)
class MethodResult:
    """What a method said about one study; arrays have one entry per arm.

    `signs`: +1 or −1 where the arm is declared different, else 0; `equivalent`: declared so; `lo`, `hi`: the
    interval of each arm alone (NaN where there is none); `cost`: trained length over that of the whole grid;
    `kept`: the reference got all seeds that it is to get in any case, at full length.
    """

    signs: NDArray[np.int8]
    equivalent: NDArray[np.bool_]
    lo: Float
    hi: Float
    cost: float
    kept: bool


Judge = Callable[[GeneratedStudy, SimulatedDesign], MethodResult]


@dataclass(frozen=True)
class Method:
    """A method by its name on the command line, the rule of the study file it stands for, and its title.

    `fewest_arms`: that it takes beside the reference.
    """

    name: str
    rule: str
    title: str
    judge: Judge
    fewest_arms: int = 1


def grid(
    study: GeneratedStudy, design: SimulatedDesign, *, variance: Variance, pooling: Pooling = FIRST
) -> MethodResult:
    """Every run to its end; the test that `variance` names, with Holm, for difference and equivalence."""
    Y = study.curves[:, : design.seeds, -1]  # noqa: N806 - the notation of the field
    return _fixed(estimate(Y, differences(len(Y)), variance, pooling), design, cost=1.0, kept=True)


def halving(
    study: GeneratedStudy, design: SimulatedDesign, *, protected: bool, rule: RungRule | None = None
) -> MethodResult:
    """ASHA, or another rule, over all runs, seed by seed on lanes, then a plain paired t per arm, Holm.

    The matched rung is the highest one at which two seeds at least have a pair: their difference estimates
    the effect at that rung, which need not be the effect at full length.
    """
    curves, seeds = study.curves, design.seeds
    rows = curves.shape[0]
    rule = rule or Halving(RUNGS[:-1], design.reduction)
    cells = [(row, seed) for seed in range(seeds) for row in range(rows)]
    runs = [_curve(study, row, seed, protected and row == 0) for row, seed in cells]
    endings = replay(runs, rule, design.lanes)
    last = np.zeros((rows, seeds), dtype=np.intp)
    for cell, ending in zip(cells, endings, strict=True):
        last[cell] = len(RUNGS) - 1 if ending.state is TrialState.DONE else ending.reports - 1
    D, _ = matched(curves[:, :seeds], last)  # noqa: N806 - the notation of the field
    tests = estimate(D, np.eye(rows - 1), "per_arm")
    cost = sum(ending.length for ending in endings) / len(cells)
    return _fixed(tests, design, cost=cost, kept=bool((last[0] == len(RUNGS) - 1).all()))


def sequential(study: GeneratedStudy, design: SimulatedDesign, rule: ResolveRule) -> MethodResult:
    """Follow the rule on the final values; every run that a look has used is trained to its end."""
    curves = study.curves[:, : max(rule.looks[-1], rule.reference)]
    course = resolve(rule, curves[:, :, -1], np.ones(curves.shape[:2], dtype=np.bool_), curves)
    ends = [course.final[row] for row in range(1, curves.shape[0])]
    cost = len(course.needed) / (curves.shape[0] * design.seeds)
    kept = all((0, seed) in course.needed for seed in range(rule.reference))
    return MethodResult(
        np.array([np.sign(end.mean or 0) if end.action == "different" else 0 for end in ends], dtype=np.int8),
        np.array([end.action == "equivalent" for end in ends]),
        _numbers(end.lo for end in ends),
        _numbers(end.hi for end in ends),
        cost,
        kept,
    )


def _curve(study: GeneratedStudy, row: int, seed: int, protected: bool) -> SimulatedCurve:
    pace, scores = float(study.pace[row, seed]), study.curves[row, seed].tolist()
    points = [
        Point(rung, rung, rung * pace, score) for rung, score in zip(RUNGS[:-1], scores[:-1], strict=True)
    ]
    return SimulatedCurve(f"{row}-{seed}", str(row), points, RUNGS[-1], RUNGS[-1] * pace, protected)


@lru_cache(maxsize=64)
def differences(rows: int) -> Float:
    """Weights of the contrasts arm − reference, (arms, 1 + arms)."""
    return np.hstack([np.full((rows - 1, 1), -1.0), np.eye(rows - 1)])


def _fixed(tests: Estimates, design: SimulatedDesign, *, cost: float, kept: bool) -> MethodResult:
    signs, equivalent = declared(tests, design.alpha, design.margin)
    half = tests.half_width(design.alpha)
    return MethodResult(signs, equivalent, tests.mean - half, tests.mean + half, cost, kept)


def declared(
    tests: Estimates, alpha: float, margin: float | None
) -> tuple[NDArray[np.int8], NDArray[np.bool_]]:
    """Return what one look says, with Holm: +1 or −1 where an arm differs, else 0; where it is equivalent."""
    different = _holm(tests.p, alpha)
    equivalent = np.zeros_like(different)
    if margin is not None:
        equivalent = ~different & _holm(tests.p_equivalent(margin), alpha)
    return np.where(different, np.sign(tests.mean), 0).astype(np.int8), equivalent


def _holm(p: Float, alpha: float) -> NDArray[np.bool_]:
    corrected = holm([None if np.isnan(one) else float(one) for one in p])
    return np.array([one is not None and one <= alpha for one in corrected])


def _numbers(values: Iterable[float | None]) -> Float:
    return np.array([np.nan if value is None else value for value in values])


def _by_rule(study: GeneratedStudy, design: SimulatedDesign, *, name: str, variant: Variant) -> MethodResult:
    """Judge by a rule as a study file that registers this design has it."""
    rule, spec = stopping_rule(name), study_file(design, name, variant)
    if rule.stops_at_rungs:
        return halving(study, design, protected=True, rule=rule.at_rungs(spec.stopping, RUNGS[-1]))
    on_seeds = rule.on_seeds(spec, study.curves.shape[0] - 1)
    if on_seeds is None:
        return grid(study, design, variance=spec.report.variance, pooling=rule.pooling(spec))
    return sequential(study, design, on_seeds)


def study_file(design: SimulatedDesign, rule: str, variant: Variant | None = None) -> StudySpec:
    """Return a study file that registers this design under the rule, or under a variant of it."""
    changed = variant or Variant("")
    ladder = {"max": RUNGS[-1], "grace": RUNGS[0], "reduction": design.reduction}
    file = {
        "name": "simulated",
        "entrypoint": "none:none",
        "metric": {"name": "value", "mode": "max"},
        "baseline": {},
        "seeds": design.seeds,
        "stopping": {"rule": rule, **ladder, **changed.stopping},
        "report": {"alpha": design.alpha, "margin": design.margin, **changed.report},
    }
    return StudySpec.model_validate(file)


def _of_rule(name: str, variant: Variant, rule: str = "resolve") -> Method:
    goal = GOALS.get(str(variant.stopping.get("goal", "save")))
    return Method(name, rule, variant.title, partial(_by_rule, name=rule, variant=variant), goal.fewest_arms)


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("grid-paired", "none", "full grid, paired t", partial(grid, variance="per_arm")),
        _of_rule("grid", Variant("full grid, moderated t"), "none"),
        _of_rule("grid-1", Variant("full grid, moderated t, version 1", {"version": 1}), "none"),
        Method("asha", "asha", "ASHA, matched rung, paired", partial(halving, protected=False)),
        Method("asha-kept", "asha", "ASHA, baseline kept, matched rung", partial(halving, protected=True)),
        _of_rule("save", Variant("resolve, save")),
        _of_rule("save-1", Variant("resolve, save, version 1", {"version": 1})),
        _of_rule("save-no-futility", Variant("resolve, save, no futility", {"futility": 0.0})),
        _of_rule("screen", Variant("resolve, screen", {"goal": "screen"})),
        _of_rule("reinvest", Variant("resolve, reinvest", {"goal": "reinvest"})),
        _of_rule("reinvest-1", Variant("resolve, reinvest, version 1", {"goal": "reinvest", "version": 1})),
        _of_rule("strict", Variant("resolve, save, strict variance", report={"variance": "per_arm"})),
    )
}
"""All methods by name, in the order of the table in docs/statistics.md."""


def method(name: str) -> Method:
    """Return the method of that name; KeyError where there is none."""
    return METHODS[name] if name in METHODS else _known()[name]


def _known() -> dict[str, Method]:
    """Return all methods, and one for each rule that a package brings, with its default settings."""
    ours = {one.rule for one in METHODS.values()}
    return METHODS | {
        name: _of_rule(name, Variant(RULES.get(name).title), name) for name in RULES if name not in ours
    }


def pick(words: Sequence[str]) -> tuple[Method, ...]:
    """Return the methods that these words name: methods, or rules for all of their methods; none means all.

    Raises `ValueError` for another word.
    """
    known = _known()
    rules = {one.rule for one in known.values()}
    for word in words:
        if word not in known and word not in rules:
            valid = dict.fromkeys([*sorted(rules), *known])
            raise ValueError(f"there is no rule {word!r}; valid: {', '.join(valid)}")
    return tuple(m for m in known.values() if not words or m.name in words or m.rule in words)
