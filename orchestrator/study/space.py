"""The space of a search: one typed dimension per dotted key, parsed with every fault."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.study.faults import Problem, nearest, raise_problems, show
from orchestrator.study.identity import canonical
from orchestrator.study.spec import StudySpec
from orchestrator.study.values import is_number
from orchestrator.study.yamlfile import Path


@dataclass(frozen=True)
class Choice:
    """One of the listed values, all equally likely."""

    values: tuple[Any, ...]

    def at(self, share: float) -> Any:
        """The value at `share` in [0, 1) of the dimension."""
        return self.values[int(share * len(self.values))]


@dataclass(frozen=True)
class Uniform:
    """A real number between the bounds."""

    low: float
    high: float

    def at(self, share: float) -> float:
        """The value at `share` in [0, 1) of the dimension."""
        return min(self.low + share * (self.high - self.low), self.high)


@dataclass(frozen=True)
class LogUniform:
    """A positive real number whose logarithm is uniform between those of the bounds."""

    low: float
    high: float

    def at(self, share: float) -> float:
        """The value at `share` in [0, 1) of the dimension."""
        value = math.exp(math.log(self.low) + share * (math.log(self.high) - math.log(self.low)))
        return min(max(value, self.low), self.high)


@dataclass(frozen=True)
class RandInt:
    """A whole number from `low` to `high`, both included."""

    low: int
    high: int

    def at(self, share: float) -> int:
        """The value at `share` in [0, 1) of the dimension."""
        return self.low + int(share * (self.high - self.low + 1))


Dimension = Choice | Uniform | LogUniform | RandInt
Space = Mapping[str, Dimension]
_FARTHEST = 2**53  # whole numbers up to here are exact as floats
KINDS = ("choice", "uniform", "loguniform", "randint")


def study_space(spec: StudySpec) -> Space:
    """The space of the study's `tune`, empty where there is none.

    Raises:
        StudyError: every key whose distribution is faulty.
    """
    space, problems = parse_space({} if spec.tune is None else spec.tune.space)
    raise_problems(problems)
    return space


def settings_in(space: Space) -> float:
    """How many different settings the space holds; infinite where a dimension is continuous."""
    count: float = 1
    for dimension in space.values():
        if isinstance(dimension, Choice):
            count *= len(dimension.values)
        elif isinstance(dimension, RandInt):
            count *= dimension.high - dimension.low + 1
        else:
            return math.inf
    return count


def parse_space(
    given: Mapping[str, Mapping[str, Any]], path: Path = ("tune", "space")
) -> tuple[dict[str, Dimension], list[Problem]]:
    """The dimensions that are sound, and what is wrong with the others."""
    space: dict[str, Dimension] = {}
    problems: list[Problem] = []
    for key, distribution in given.items():
        at = (*path, key)
        if len(distribution) != 1:
            message = f"needs exactly one of {', '.join(KINDS)}"
            value = ", ".join(map(str, distribution)) or "nothing"
            problems.append(Problem(at, message, value[:60], hint="for example {loguniform: [1e-4, 1e-1]}"))
            continue
        ((kind, content),) = distribution.items()
        if kind not in KINDS:
            problems.append(Problem((*at, kind), f"unknown distribution {kind!r}", hint=nearest(kind, KINDS)))
            continue
        faults = list(
            _choice_problems(content, (*at, kind)) if kind == "choice" else _bounds(kind, content, at)
        )
        problems += faults
        if not faults:
            space[key] = _dimension(kind, content)
    return space, problems


def _dimension(kind: str, content: Sequence[Any]) -> Dimension:
    if kind == "choice":
        return Choice(tuple(content))
    low, high = content
    if kind == "randint":
        return RandInt(low, high)
    return Uniform(float(low), float(high)) if kind == "uniform" else LogUniform(float(low), float(high))


def _choice_problems(content: Any, path: Path) -> Iterator[Problem]:
    if not isinstance(content, (list, tuple)):
        yield Problem(
            path, "must be a list of values", show(content), hint="for example choice: [16, 32, 64]"
        )
        return
    if not content:
        yield Problem(path, "is empty: at least one value is needed")
    seen: dict[str, int] = {}
    for index, value in enumerate(content):
        if seen.setdefault(canonical(value), index) != index:
            yield Problem((*path, index), "names a value twice", show(value), hint="remove one of the two")


def _bounds(kind: str, content: Any, at: Path) -> Iterator[Problem]:
    """Faults of [low, high]."""
    path = (*at, kind)
    example = {"uniform": "[0.0, 0.5]", "loguniform": "[1e-4, 1e-1]", "randint": "[1, 8]"}[kind]
    numbers = isinstance(content, (list, tuple)) and len(content) == 2 and all(map(is_number, content))
    if not numbers:
        yield Problem(
            path, "must be two numbers, [low, high]", show(content), f"for example {kind}: {example}"
        )
        return
    low, high = content
    if kind == "randint" and not (isinstance(low, int) and isinstance(high, int)):
        yield Problem(path, "needs whole numbers", show(content), hint="use uniform for real numbers")
    if kind == "loguniform" and low <= 0:
        yield Problem(
            path, "needs bounds above 0", show(content), hint="use uniform, or a small positive bound"
        )
    if max(abs(low), abs(high)) > _FARTHEST:
        yield Problem(
            path, f"has a bound beyond 2^53 = {_FARTHEST:,}", show(content), hint="use smaller bounds"
        )
    if low >= high:
        yield Problem(
            path, "the lower bound must be below the upper one", show(content), hint="write [low, high]"
        )
