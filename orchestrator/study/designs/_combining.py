"""Which components can be taken away together, and which pairs of them a study asks for."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import combinations

from orchestrator.study.faults import Path, Problem, nearest, show
from orchestrator.study.registered import design_of, rule_of
from orchestrator.study.spec import StudySpec

Pair = tuple[str, str]


def away_labels(spec: StudySpec) -> dict[str, str]:
    """Return the arm that takes each component away, in the order of the file; none where several could.

    That is `no-<name>`, and `<name>=<alternative>` where there is no `without` and one alternative only.
    """
    labels = {}
    for name, component in spec.components.items():
        if component.without is not None:
            labels[name] = f"no-{name}"
        elif component.swap is not None and len(component.swap) == 1:
            labels[name] = f"{name}={next(iter(component.swap))}"
    return labels


def _distinct(names: Sequence[str]) -> bool:
    """Two different names or more; other entries are refused by `combining_problems`."""
    return len(names) > 1 and len(set(names)) == len(names)


def is_excluded(spec: StudySpec, parts: Collection[str]) -> bool:
    """Whether `exclude` forbids taking these components away together."""
    return any(set(group) <= set(parts) for group in spec.exclude if _distinct(group))


def in_file_order(spec: StudySpec, pair: Sequence[str]) -> Pair:
    """Return the pair as its arm names it; both are components of the study."""
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


def chosen_later(spec: StudySpec) -> bool:
    """Whether `interactions` is auto: results say which pairs, or the design takes all that it can."""
    return spec.interactions == "auto"


def listed_pairs(spec: StudySpec) -> tuple[Pair, ...]:
    """Return the pairs that `interactions` lists, in file order; those that are faulty are left out."""
    if isinstance(spec.interactions, str):
        return ()
    known = [given for given in spec.interactions if set(given) <= set(spec.components)]
    listed = [in_file_order(spec, given) for given in known if _distinct(given) and len(given) == 2]
    possible = set(possible_pairs(spec))
    return tuple(dict.fromkeys(pair for pair in listed if pair in possible))


def combining_problems(spec: StudySpec) -> list[Problem]:
    """Everything that is wrong with `exclude`, `interactions`, and what the design makes of them."""
    listed = () if isinstance(spec.interactions, str) else _listed_problems(spec, spec.interactions)
    return [*_exclude_problems(spec), *_interaction_problems(spec), *listed]


def _exclude_problems(spec: StudySpec) -> Iterator[Problem]:
    design = design_of(spec)
    for index, group in enumerate(spec.exclude):
        path: Path = ("exclude", index)
        if not _distinct(group):
            yield Problem(path, "must name at least two different components", show(list(group)))
            continue
        unknown = list(_unknown_problems(spec, group, path))
        yield from unknown
        if not unknown and (problem := design.group_problem(spec, group, path)):
            yield problem
    yield from design.exclude_problems(spec)


def _interaction_problems(spec: StudySpec) -> Iterator[Problem]:
    if spec.interactions == "none":
        return
    problem = design_of(spec).interaction_problem(spec)
    if problem is not None:
        yield problem
    elif chosen_later(spec) and rule_of(spec).tier != "full-length":
        message = f"must not be auto with rule: {spec.stopping.rule}, which resolves no effect"
        yield Problem(("interactions",), message, hint="use rule: resolve or none, or list the pairs")


def _listed_problems(spec: StudySpec, listed: Sequence[Sequence[str]]) -> Iterator[Problem]:
    labels = away_labels(spec)
    seen: dict[frozenset[str], int] = {}
    for index, given in enumerate(listed):
        path: Path = ("interactions", index)
        shown = show(list(given))
        if not _distinct(given) or len(given) != 2:
            yield Problem(path, "must be a pair of two different components", shown)
            continue
        owners = [name.partition("=")[0] for name in given]
        if any("=" in name for name in given) and len(set(owners)) == 1:
            message = f"names two alternatives of {owners[0]}, which no run can have together"
            yield Problem(path, message, shown, "name two different components")
            continue
        unknown = list(_unknown_problems(spec, given, path))
        yield from unknown
        if unknown:
            continue
        for name in given:
            if name not in labels and spec.components[name].swap:
                count = len(spec.components[name].swap or {})
                message = f"{name} has {count} alternatives and no 'without': it is not clear which is meant"
                yield Problem(path, message, shown, f"give {name} a 'without', or leave one")
        if is_excluded(spec, given):
            message = "is asked for here and excluded by 'exclude'"
            yield Problem(path, message, shown, "remove it from one of the two")
        if seen.setdefault(frozenset(given), index) != index:
            yield Problem(path, "names a pair twice", shown, "remove one of the two")


def _unknown_problems(spec: StudySpec, names: Collection[str], path: Path) -> Iterator[Problem]:
    for name in names:
        if name not in spec.components:
            owner = name.partition("=")[0]
            hint = nearest(name, spec.components)
            if owner in spec.components:
                hint = f"write {owner}: an alternative cannot be named here"
            yield Problem(path, f"there is no component {name!r}", hint=hint)
