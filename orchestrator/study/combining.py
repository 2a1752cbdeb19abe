"""Which components can be taken away together, and which pairs of them a study asks for."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import combinations

from orchestrator.study.faults import Problem, nearest, show
from orchestrator.study.spec import Component, StudySpec
from orchestrator.study.stopping import rule_of
from orchestrator.study.yamlfile import Path

Pair = tuple[str, str]

CROSSED = frozenset({"factorial", "fractional"})
"""Designs whose effects come from all runs, not from a comparison with one reference arm."""


def away_label(name: str, component: Component) -> str | None:
    """The arm that takes the component away, or None when several alternatives could.

    That is `no-<name>`, and `<name>=<alternative>` where there is no `without` and one alternative only.
    """
    if component.without is not None:
        return f"no-{name}"
    if component.swap is not None and len(component.swap) == 1:
        return f"{name}={next(iter(component.swap))}"
    return None


def away_labels(spec: StudySpec) -> dict[str, str]:
    """`away_label` of every component that has one, in the order of the file."""
    labels = {name: away_label(name, component) for name, component in spec.components.items()}
    return {name: label for name, label in labels.items() if label is not None}


def _distinct(names: Sequence[str]) -> bool:
    """Two different names or more; other entries are refused by `combining_problems`."""
    return len(names) > 1 and len(set(names)) == len(names)


def is_excluded(spec: StudySpec, parts: Collection[str]) -> bool:
    """Whether `exclude` forbids taking these components away together."""
    return any(set(group) <= set(parts) for group in spec.exclude if _distinct(group))


def in_file_order(spec: StudySpec, pair: Sequence[str]) -> Pair:
    """The pair as its arm names it; both are components of the study."""
    one, other = sorted(pair, key=list(spec.components).index)
    return one, other


def possible_pairs(spec: StudySpec, among: Collection[str] | None = None) -> tuple[Pair, ...]:
    """All pairs of components that may be taken away together, in file order.

    Args:
        among: names of main effects, such as the resolved ones with `interactions: auto`; only components
            whose removal is among them are paired, not those of which just a further alternative is.
    """
    names = [name for name, label in away_labels(spec).items() if among is None or label in among]
    return tuple(pair for pair in combinations(names, 2) if not is_excluded(spec, pair))


def planned_pairs(spec: StudySpec) -> tuple[Pair, ...]:
    """The pairs that get an arm from the start, in file order; those that are faulty are left out."""
    pairs: dict[Pair, None] = {}
    if spec.design == "pairs":
        simple = [
            f"no-{name}" for name, component in spec.components.items() if component.without is not None
        ]
        pairs.update(dict.fromkeys(possible_pairs(spec, simple)))
    if spec.design in ("leave-one-out", "pairs"):
        pairs.update(dict.fromkeys(asked_pairs(spec)))
    return tuple(pairs)


def asked_pairs(spec: StudySpec) -> tuple[Pair, ...]:
    """The pairs that `interactions` lists; in a factorial design `auto` stands for all of them."""
    if spec.design == "factorial" and spec.interactions == "auto":
        return possible_pairs(spec)
    if isinstance(spec.interactions, str):
        return ()
    possible = set(possible_pairs(spec))
    pairs = (given for given in spec.interactions if _distinct(given) and len(given) == 2)
    known = [pair for pair in pairs if all(name in spec.components for name in pair)]
    return tuple(
        dict.fromkeys(pair for pair in (in_file_order(spec, given) for given in known) if pair in possible)
    )


def combining_problems(spec: StudySpec) -> list[Problem]:
    """Everything that is wrong with `exclude`, `interactions`, and what the design makes of them."""
    return [*_exclude_problems(spec), *_interaction_problems(spec), *_listed_problems(spec)]


def _exclude_problems(spec: StudySpec) -> Iterator[Problem]:
    removable = {name for name, component in spec.components.items() if component.without is not None}
    for index, group in enumerate(spec.exclude):
        path: Path = ("exclude", index)
        if not _distinct(group):
            yield Problem(path, "must name at least two different components", show(list(group)))
            continue
        unknown = [name for name in group if name not in spec.components]
        for name in unknown:
            yield _unknown_problem(spec, name, path)
        if not unknown and spec.design == "add-one-in" and set(group) <= removable:
            message = "cannot be excluded in add-one-in: its reference takes all components away together"
            yield Problem(path, message, show(list(group)), hint="use design: leave-one-out or pairs")
    if spec.exclude and spec.design == "fractional":
        message = "is not possible with a fractional design: each of its runs is needed"
        yield Problem(("exclude",), message, hint="use design: factorial, or join the components")


def _interaction_problems(spec: StudySpec) -> Iterator[Problem]:
    if spec.interactions == "none":
        return
    path: Path = ("interactions",)
    if spec.design == "add-one-in":
        message = "are only defined where components are taken away from the baseline, not in add-one-in"
        yield Problem(path, message, hint="use design: leave-one-out")
    elif spec.design == "fractional":
        message = "cannot be estimated in a fractional design: they are aliased with each other"
        yield Problem(path, message, hint="use design: factorial, or remove interactions")
    elif spec.interactions == "auto" and spec.design == "pairs":
        message = "must not be auto with design: pairs, which runs every pair anyway"
        yield Problem(path, message, hint="remove interactions, or use design: leave-one-out")
    elif spec.interactions == "auto" and rule_of(spec).tier != "full-length":
        message = f"must not be auto with rule: {spec.stopping.rule}, which resolves no effect"
        yield Problem(path, message, hint="use rule: resolve or none, or list the pairs")


def _listed_problems(spec: StudySpec) -> Iterator[Problem]:
    if isinstance(spec.interactions, str):
        return
    seen: dict[frozenset[str], int] = {}
    for index, given in enumerate(spec.interactions):
        path: Path = ("interactions", index)
        if not _distinct(given) or len(given) != 2:
            yield Problem(path, "must be a pair of two different components", show(list(given)))
            continue
        owners = [name.partition("=")[0] for name in given]
        if any("=" in name for name in given) and len(set(owners)) == 1:
            message = f"names two alternatives of {owners[0]}, which no run can have together"
            yield Problem(path, message, show(list(given)), hint="name two different components")
            continue
        unknown = [name for name in given if name not in spec.components]
        for name in unknown:
            yield _unknown_problem(spec, name, path)
        if unknown:
            continue
        labels = away_labels(spec)
        for name in given:
            if name not in labels and spec.components[name].swap:
                count = len(spec.components[name].swap or {})
                message = f"{name} has {count} alternatives and no 'without': it is not clear which is meant"
                yield Problem(path, message, show(list(given)), hint=f"give {name} a 'without', or leave one")
        if is_excluded(spec, given):
            message = "is asked for here and excluded by 'exclude'"
            yield Problem(path, message, show(list(given)), hint="remove it from one of the two")
        first = seen.setdefault(frozenset(given), index)
        if first != index:
            yield Problem(path, "names a pair twice", show(list(given)), hint="remove one of the two")


def _unknown_problem(spec: StudySpec, name: str, path: Path) -> Problem:
    owner = name.partition("=")[0]
    if owner in spec.components and owner != name:
        hint = f"write {owner}: an alternative cannot be named here"
    else:
        hint = nearest(name, spec.components)
    return Problem(path, f"there is no component {name!r}", hint=hint)
