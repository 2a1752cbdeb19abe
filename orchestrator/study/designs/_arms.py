"""From a baseline and its components to arms with their configs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from orchestrator.study import references
from orchestrator.study.changes import MISSING, apply, lookup, overlap
from orchestrator.study.designs._combining import Pair, chosen_later, combining_problems, in_file_order
from orchestrator.study.designs._drafts import REFERENCE, Draft, Singles, pair_drafts
from orchestrator.study.faults import Path, Problem, raise_problems, show
from orchestrator.study.identity import canonical
from orchestrator.study.plan import Arm
from orchestrator.study.registered import design_of, rule_of
from orchestrator.study.search import samples_per_arm
from orchestrator.study.spec import StudySpec

_MAX_ARM_NAME = 200  # names a directory: file systems allow 255 bytes


def expand_arms(spec: StudySpec) -> tuple[Arm, ...]:
    """All arms that the study has from the start, the reference arm first.

    Raises:
        StudyError: every arm that cannot be built, changes nothing, or equals another; pairs and combinations
            that make no sense; more cells than `max_cells`.
    """
    arms, problems = build_arms(spec)
    raise_problems(problems)
    return arms


def build_arms(spec: StudySpec) -> tuple[tuple[Arm, ...], list[Problem]]:
    """Return the arms that can be built, and every problem with their addresses in the study file."""
    singles, found = Singles.of(spec), list[Problem]()
    drafts = list(design_of(spec).drafts(spec, singles, spec.max_cells // cells_per_arm(spec), found))
    problems = [*combining_problems(spec), *singles.problems, *found]
    planned = sum(draft.planned for draft in drafts)
    # what a fractional design checks besides is never run; what `interactions: auto` checks may be
    later = len(drafts) - planned if chosen_later(spec) else 0
    too_many = _size_problem(spec, planned, later)
    if too_many is not None:
        problems.append(too_many)
        drafts = [draft for draft in drafts if not draft.parts]
    builder = _Builder(spec)
    problems = builder.problems + problems
    if builder.problems:  # each arm would repeat what is wrong with the baseline
        return (), problems
    problems += _goal_problems(spec, sum(draft.planned and not draft.parts for draft in drafts) - 1)
    arms = [(draft, builder.build(draft)) for draft in drafts]
    return tuple(arm for draft, arm in arms if arm is not None and draft.planned), problems + builder.problems


def _goal_problems(spec: StudySpec, arms: int) -> Iterator[Problem]:
    """Find a goal that needs more arms beside the reference; interactions do not count."""
    goal = rule_of(spec).goal(spec)
    if goal is not None and design_of(spec).compares and arms < goal.fewest_arms:
        message = f"needs at least {goal.fewest_arms} arms beside the reference, this study has {arms}"
        yield Problem(("stopping", "goal"), message, goal.name, "use goal: save, or add components")


def pair_arms(spec: StudySpec, pairs: Iterable[Sequence[str]]) -> tuple[Arm, ...]:
    """Return the arms that take two components away together, one per pair of component names, in file order.

    For pairs that results have called for (`interactions: auto`, `combining.possible_pairs`).

    Raises:
        StudyError: a pair whose arm cannot be built or equals another arm of the study.
    """
    singles = Singles.of(spec)
    problems = list(singles.problems)
    wanted: list[Pair] = list(dict.fromkeys(in_file_order(spec, pair) for pair in pairs))
    drafts = list(pair_drafts(spec, wanted, singles, problems))
    builder = _Builder(spec)
    for single in (REFERENCE, *singles.drafts):
        builder.build(single)
    arms = [arm for arm in map(builder.build, drafts) if arm is not None]
    raise_problems(problems + builder.problems)
    return tuple(arms)


def searched_config(spec: StudySpec, arm: Arm, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arm's config with what a search has chosen, {dotted key: value}.

    References follow the choice: with `hidden: ${baseline.model.width}`, a width that is searched sets both.
    """
    config = apply(apply(spec.baseline, arm.set), chosen)
    return dict(_resolved(config, _context(spec))[0])


def _context(spec: StudySpec) -> dict[str, Any]:
    return {key: value for key, value in spec.to_dict().items() if key in references.SECTIONS}


def _resolved(
    config: Mapping[str, Any], context: Mapping[str, Any]
) -> tuple[Mapping[str, Any], list[Problem]]:
    resolved, faults = references.resolve({**context, "baseline": config}, ["baseline"])
    return resolved["baseline"], faults


class _Builder:
    """Makes arms of drafts and finds those that are no arms: `problems` grows with every draft."""

    def __init__(self, spec: StudySpec) -> None:
        self.spec = spec
        self.context = _context(spec)
        self.problems: list[Problem] = []
        self._searched = _searched_keys(spec)
        self._reference: str | None = None
        self._seen: dict[str, str] = {}
        self._seen_searched: dict[str, str] = {}
        self._faulty: set[str] = set()
        self.problems += _resolved(spec.baseline, self.context)[1]

    def build(self, draft: Draft) -> Arm | None:
        """Return the arm; None when its references cannot be resolved."""
        self._reference = self._reference or draft.name
        config = apply(self.spec.baseline, draft.changes)
        resolved, faults = _resolved(config, self.context)
        problems = [Problem(draft.path, fault.message, fault.value, fault.hint) for fault in faults]
        if not faults:
            problems += self._problems(draft, resolved)
        if problems and draft.component is not None:
            self._faulty.add(draft.component)
        if not self._faulty & set(draft.parts):  # else it was said of the component alone
            self.problems += problems
        if faults:
            return None
        changes = {key: lookup(resolved, key) for key in draft.changes}
        return Arm(draft.name, draft.component, draft.kind, changes, resolved, draft.why, draft.parts)

    def _problems(self, draft: Draft, config: Mapping[str, Any]) -> Iterator[Problem]:
        """Find what is wrong with a resolved config: its name, and arms that equal it."""
        path, name = draft.path, draft.name
        if len(name) > _MAX_ARM_NAME:
            message = f"the name of the arm {name[:40]}... has {len(name)} characters, too many"
            yield Problem(path, message, hint=f"use shorter names: {_MAX_ARM_NAME} characters in all")
        other = self._seen.setdefault(canonical(_normal(config)), name)
        if other != name:
            values = ", ".join(f"{key} = {show(value)}" for key, value in list(draft.changes.items())[:5])
            message, hint = f"the arm {name} equals the arm {other}", "remove one of them"
            if other == self._reference:
                message = f"the arm {name} changes nothing: it equals {other}"
                hint = "give a value that differs from the baseline's"
            yield Problem(path, message, values or None, hint)
        elif self._searched:
            yield from self._search_problems(draft, config)

    def _search_problems(self, draft: Draft, config: Mapping[str, Any]) -> Iterator[Problem]:
        for key in draft.changes:
            if any(key != own and overlap(key, own) for own in self._searched):
                message = f"the arm {draft.name} replaces {key}, inside which the search sets a key"
                yield Problem(draft.path, message, hint="take that key out of tune.space")
                return
        searched = apply(config, dict.fromkeys(self._searched))
        other = self._seen_searched.setdefault(canonical(_normal(searched)), draft.name)
        if other != draft.name:
            keys = ", ".join(key for key in draft.changes if key in self._searched)
            message = f"the search overrides {keys}, so that the arm {draft.name} equals {other}"
            hint = "take that key out of tune.space, or remove the component"
            yield Problem(draft.path, message, hint=hint)


def _searched_keys(spec: StudySpec) -> tuple[str, ...]:
    """Return the keys that a search sets, of those that the baseline has."""
    searched = spec.tune.space if spec.tune is not None and spec.tune.searches else ()
    found = {key: lookup(spec.baseline, key) for key in searched}
    return tuple(key for key, at in found.items() if at is not MISSING and not isinstance(at, Mapping))


def _normal(value: Any) -> Any:
    """Return the value with equal numbers made equal: 0 and 0.0 are no change."""
    if isinstance(value, Mapping):
        return {key: _normal(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_normal(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def cells_per_arm(spec: StudySpec) -> int:
    """Count the runs of one arm: its seeds, once per phase that evaluates it, and the samples of its search.

    `goal: reinvest` moves seeds between arms, its budget is the seeds of the file in every arm.
    """
    return len(spec.phases) * len(spec.seeds) + samples_per_arm(spec)


def _size_problem(spec: StudySpec, arms: int, later: int = 0) -> Problem | None:
    """Return the refusal of a study with more cells than `max_cells`, or None.

    Args:
        arms: arms that are planned from the start; a count above what fits may itself have been cut off.
        later: arms that results may call for (`interactions: auto`).
    """
    total = (arms + later) * cells_per_arm(spec)
    if total <= spec.max_cells:
        return None
    count, exact = design_of(spec).needs(spec, arms)
    at_least = "" if exact else "more than "
    seeds = "1 seed" if len(spec.seeds) == 1 else f"{len(spec.seeds)} seeds"
    parts = [seeds + (", fixed and retuned" if len(spec.phases) > 1 else "")]
    if samples_per_arm(spec):
        parts.append(f"{samples_per_arm(spec):,} samples")
    pairs = f", of them {later:,} pairs that interactions: auto may add" if later else ""
    total = (count + later) * cells_per_arm(spec)
    message = (
        f"{at_least}{total:,} cells are needed ({at_least}{count + later:,} arms{pairs}; "
        f"{' and '.join(parts)} each), but max_cells allows {spec.max_cells:,}"
    )
    return Problem(_place(spec), message, hint=_ways_out(spec, total, exact=exact))


def _place(spec: StudySpec) -> Path:
    if "max_cells" in spec.model_fields_set:
        return ("max_cells",)
    if design_of(spec).many_arms:
        return ("design",)
    return ("tune",) if samples_per_arm(spec) > len(spec.seeds) else ("seeds",)


def _ways_out(spec: StudySpec, total: int, *, exact: bool) -> str:
    samples = "fewer samples" if samples_per_arm(spec) else None
    ways = list(filter(None, [design_of(spec).smaller(spec), samples, "fewer seeds"]))
    return f"use {', '.join(ways)}, or " + (f"max_cells: {total}" if exact else "a larger max_cells")
