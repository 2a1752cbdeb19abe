"""Which settings a search tries: every point of a grid, or random draws that are the same for every arm.

Draws come from a hash of the study's seed text, the sample and the key, not from a stream of numbers: a draw
changes neither with the order of the keys, nor with keys or samples that are added, nor with the version of a
library.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.study.faults import Path, Problem, nearest, raise_problems, show
from orchestrator.study.identity import canonical
from orchestrator.study.methods import Sentence
from orchestrator.study.publications import RANDOM_SEARCH
from orchestrator.study.registered import SEARCHES
from orchestrator.study.spec import StudySpec, TuneSpec
from orchestrator.study.values import is_number


@dataclass(frozen=True)
class Choice:
    """One of the listed values, all equally likely."""

    values: tuple[Any, ...]

    def at(self, share: float) -> Any:
        return self.values[int(share * len(self.values))]


@dataclass(frozen=True)
class Uniform:
    """A real number between the bounds."""

    low: float
    high: float

    def at(self, share: float) -> float:
        return min(self.low + share * (self.high - self.low), self.high)


@dataclass(frozen=True)
class LogUniform:
    """A positive real number whose logarithm is uniform between those of the bounds."""

    low: float
    high: float

    def at(self, share: float) -> float:
        value = math.exp(math.log(self.low) + share * (math.log(self.high) - math.log(self.low)))
        return min(max(value, self.low), self.high)


@dataclass(frozen=True)
class RandInt:
    """A whole number from `low` to `high`, both included."""

    low: int
    high: int

    def at(self, share: float) -> int:
        return self.low + int(share * (self.high - self.low + 1))


Dimension = Choice | Uniform | LogUniform | RandInt
"""`at`: the value at `share` in [0, 1) of the dimension."""
Space = Mapping[str, Dimension]
_FARTHEST = 2**53  # whole numbers up to here are exact as floats
KINDS = ("choice", "uniform", "loguniform", "randint")


def study_space(spec: StudySpec) -> Space:
    """Return the space of the study's `tune`, empty where there is none.

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
    """Return the dimensions that are sound, and what is wrong with the others."""
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
        check = _choice_problems if kind == "choice" else _bounds
        faults = list(check(content, (*at, kind)))
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
    return (Uniform if kind == "uniform" else LogUniform)(float(low), float(high))


def _choice_problems(content: Any, path: Path) -> Iterator[Problem]:
    if not isinstance(content, (list, tuple)):
        hint = "for example choice: [16, 32, 64]"
        yield Problem(path, "must be a list of values", show(content), hint)
        return
    if not content:
        yield Problem(path, "is empty: at least one value is needed")
    seen: dict[str, int] = {}
    for index, value in enumerate(content):
        if seen.setdefault(canonical(value), index) != index:
            yield Problem((*path, index), "names a value twice", show(value), hint="remove one of the two")


def _bounds(content: Any, path: Path) -> Iterator[Problem]:
    """Faults of [low, high]."""
    kind, shown = path[-1], show(content)
    if not isinstance(content, (list, tuple)) or len(content) != 2 or not all(map(is_number, content)):
        example = {"uniform": "[0.0, 0.5]", "loguniform": "[1e-4, 1e-1]", "randint": "[1, 8]"}[str(kind)]
        yield Problem(path, "must be two numbers, [low, high]", shown, f"for example {kind}: {example}")
        return
    low, high = content
    if kind == "randint" and not (isinstance(low, int) and isinstance(high, int)):
        yield Problem(path, "needs whole numbers", shown, "use uniform for real numbers")
    if kind == "loguniform" and low <= 0:
        yield Problem(path, "needs bounds above 0", shown, "use uniform, or a small positive bound")
    if max(abs(low), abs(high)) > _FARTHEST:
        yield Problem(path, f"has a bound beyond 2^53 = {_FARTHEST:,}", shown, "use smaller bounds")
    if low >= high:
        yield Problem(path, "the lower bound must be below the upper one", shown, "write [low, high]")


Params = dict[str, Any]
Tried = Sequence[tuple[Params, float | None]]
_TRIES = 1000


class Search(ABC):
    """Which settings are tried. `name`: as `tune.search` names it.

    `adaptive`: the next samples depend on results, so that `suggest` is asked for them.
    """

    name: str
    adaptive: bool = False

    def samples(self, tune: TuneSpec) -> int:
        """Count the settings that are tried in every arm; a faulty space counts as well as it can."""
        return tune.samples

    @abstractmethod
    def draws(self, space: Space, tune: TuneSpec) -> list[Params]:
        """Return the settings that are known before any result, the same for every arm."""

    def suggest(self, space: Space, tried: Tried, sample: int, seed_text: str) -> Params:
        """Return the settings of the sample with this index (from 0), given all earlier ones.

        Asked of adaptive searches only. The same arguments give the same answer.

        Args:
            tried: settings and oriented scores (higher is better) in the order of the samples; None: still
                running; not finite: diverged or failed.
        """
        raise NotImplementedError(f"{self.name} draws all of its samples before any result")

    def methods(self, tune: TuneSpec) -> Sentence:
        """Say for a paper how the settings of the samples were found."""
        return Sentence(f"Settings were proposed by the search {self.name}")

    def problems(self, tune: TuneSpec, space: Space) -> Iterator[Problem]:
        """Find what is wrong with `tune` under this search; the space itself is sound."""
        if settings_in(space) < tune.samples:
            message = f"are more than the different settings of the space, {settings_in(space):.0f}"
            hint = "use search: grid, or fewer samples"
            yield Problem(("tune", "samples"), message, show(tune.samples), hint)


class _Grid(Search):
    name = "grid"

    def samples(self, tune: TuneSpec) -> int:
        choices = [given.get("choice") for given in tune.space.values()]
        return math.prod(len(values) if isinstance(values, (list, tuple)) else 1 for values in choices)

    def draws(self, space: Space, tune: TuneSpec) -> list[Params]:
        return grid(space)

    def methods(self, tune: TuneSpec) -> Sentence:
        return Sentence(
            "The settings were all combinations of the listed values, a grid that is the same for every arm"
        )

    def problems(self, tune: TuneSpec, space: Space) -> Iterator[Problem]:
        ranges = [key for key, dimension in space.items() if not isinstance(dimension, Choice)]
        for key in ranges:
            hint = "list the values: {choice: [...]}, or use search: random"
            yield Problem(("tune", "space", key), "a grid takes choice only", hint=hint)
        count, default = self.samples(tune), type(tune).model_fields["samples"].default
        if not ranges and tune.samples not in (default, count) and tune.searches:
            message = f"is only used by random and bayes: this grid has {count:,} settings"
            yield Problem(("tune", "samples"), message, show(tune.samples), hint="remove it")


class _Random(Search):
    name = "random"

    def draws(self, space: Space, tune: TuneSpec) -> list[Params]:
        return random_draws(space, tune.samples, seed_text(tune))

    def methods(self, tune: TuneSpec) -> Sentence:
        return Sentence("The settings were drawn at random, the same draws for every arm", (RANDOM_SEARCH,))


GRID, RANDOM = _Grid(), _Random()


def registered_draws(spec: StudySpec) -> list[Params]:
    """Return the settings that are known before any result; empty where nothing is tuned.

    Raises `StudyError` for a space that is faulty.
    """
    if spec.tune is None or not spec.tune.searches:
        return []
    return SEARCHES.get(spec.tune.search).draws(study_space(spec), spec.tune)


def samples_per_arm(spec: StudySpec) -> int:
    """Count the settings that the search tries in every arm; 0 where nothing is tuned."""
    if spec.tune is None or not spec.tune.searches:
        return 0
    return SEARCHES.get(spec.tune.search).samples(spec.tune)


def seed_text(tune: TuneSpec) -> str:
    """Names the search: the same for every arm."""
    return f"tune seed {tune.seed}"


def first_random(space: Space) -> int:
    """How many samples of a Bayesian search are drawn at random, before it has something to learn from."""
    return max(3, len(space) + 1)


def grid(space: Space) -> list[Params]:
    """Every combination of the choices, {dotted key: value}; the last key varies fastest.

    Raises `ValueError` for a dimension that is no `Choice`.
    """
    choices = [dimension.values for dimension in space.values() if isinstance(dimension, Choice)]
    return [dict(zip(space, values, strict=True)) for values in itertools.product(*choices)]


def random_draws(space: Space, samples: int, seed_text: str) -> list[Params]:
    """Return `samples` settings, {dotted key: value}, all different as long as the space has so many.

    More samples begin with the same ones. `seed_text` names the search, such as the study's tuning seed: with
    the same text every arm gets the same draws.
    """
    drawn: list[Params] = []
    seen: set[str] = set()
    for sample in range(samples):
        for attempt in range(_TRIES):
            params = {
                key: at.at(share(seed_text, "sample", sample, attempt, key)) for key, at in space.items()
            }
            if canonical(params) not in seen:
                break
        seen.add(canonical(params))
        drawn.append(params)
    return drawn


def share(*parts: object) -> float:
    """Return a number in [0, 1), uniform over what is hashed: 53 bits of SHA-256."""
    digest = hashlib.sha256(canonical([str(part) for part in parts]).encode()).digest()
    return (int.from_bytes(digest[:8]) >> 11) / 2**53
