"""Which settings a search tries: every point of a grid, or random draws that are the same for every arm.

Draws come from a hash of the study's seed text, the sample and the key, not from a stream of numbers: a draw
changes neither with the order of the keys, nor with keys or samples that are added, nor with the version of a
library.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from typing import Any

from orchestrator.study.designs import searches
from orchestrator.study.identity import canonical
from orchestrator.study.space import Choice, Space, study_space
from orchestrator.study.spec import StudySpec, TuneSpec

Params = dict[str, Any]
_TRIES = 1000


def registered_draws(spec: StudySpec) -> list[Params]:
    """The settings that are known before any result: all of a grid and a random search, the first of `bayes`.

    Empty where nothing is tuned. Raises `StudyError` for a space that is faulty.
    """
    if spec.tune is None or not searches(spec):
        return []
    space = study_space(spec)
    if spec.tune.search == "grid":
        return grid(space)
    first = first_random(space) if spec.tune.search == "bayes" else spec.tune.samples
    return random_draws(space, min(first, spec.tune.samples), seed_text(spec.tune))


def seed_text(tune: TuneSpec) -> str:
    """Names the search: the same for every arm."""
    return f"tune seed {tune.seed}"


def first_random(space: Space) -> int:
    """How many samples of a Bayesian search are drawn at random, before it has something to learn from."""
    return max(3, len(space) + 1)


def grid(space: Space) -> list[Params]:
    """Every combination of the choices, {dotted key: value}; the last key varies fastest.

    Raises:
        ValueError: a dimension that is no `Choice`.
    """
    choices: list[Sequence[Any]] = []
    for key, dimension in space.items():
        if not isinstance(dimension, Choice):
            raise ValueError(f"a grid takes choice only, {key} is {type(dimension).__name__.lower()}")
        choices.append(dimension.values)
    return [dict(zip(space, values, strict=True)) for values in itertools.product(*choices)]


def random_draws(space: Space, samples: int, seed_text: str) -> list[Params]:
    """`samples` settings, {dotted key: value}, all different as long as the space has so many.

    More samples begin with the same ones. `seed_text` names the search, such as the study's tuning seed: with
    the same text every arm gets the same draws.
    """
    drawn: list[Params] = []
    seen: set[str] = set()
    for sample in range(samples):
        for attempt in range(_TRIES):
            params = _draw(space, seed_text, sample, attempt)
            if canonical(params) not in seen:
                break
        seen.add(canonical(params))
        drawn.append(params)
    return drawn


def share(*parts: object) -> float:
    """A number in [0, 1), uniform over what is hashed: 53 bits of SHA-256."""
    digest = hashlib.sha256(canonical([str(part) for part in parts]).encode()).digest()
    return (int.from_bytes(digest[:8]) >> 11) / 2**53


def _draw(space: Space, seed_text: str, sample: int, attempt: int) -> Params:
    return {key: at.at(share(seed_text, "sample", sample, attempt, key)) for key, at in space.items()}
