"""Factorial and fractional designs over components that are either present or taken away.

Only names are handled here. A run is the tuple of components that it takes away, in the order of the file.
Factors are coded +1 for present, so that a generator such as D = ABC keeps the run in which all are present.
Generators: Box, Hunter & Hunter, Statistics for Experimenters, table of 2^(k−p) designs (resolution IV; V for
five components).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import combinations

GENERATORS = {
    4: ("ABC",),
    5: ("ABCD",),
    6: ("ABC", "BCD"),
    7: ("ABC", "BCD", "ACD"),
    8: ("BCD", "ACD", "ABC", "ABD"),
}
"""Number of components: the products of the first ones that set the last ones."""
_LETTERS = "ABCDEFGH"
_ORDER = 3

Run = tuple[str, ...]


AliasSet = tuple[tuple[str, ...], ...]
"""Effects that a fractional design cannot tell apart, those of few components first.

Every effect is the tuple of its components: one for a main effect, two or three for an interaction;
interactions of more are left out.
"""


def all_runs(names: Sequence[str], exclude: Iterable[Collection[str]] = ()) -> Iterator[Run]:
    """Every combination but those that take an excluded group away, ascending in how many are taken away."""
    groups = [frozenset(group) for group in exclude]
    waiting: deque[tuple[int, Run]] = deque([(0, ())])
    while waiting:
        start, run = waiting.popleft()
        yield run
        for index in range(start, len(names)):
            grown = (*run, names[index])
            # every part of an allowed run is allowed itself: growing the allowed ones misses nothing
            if not any(group <= set(grown) for group in groups):
                waiting.append((index + 1, grown))


def fraction(names: Sequence[str]) -> tuple[Run, ...]:
    """Return the runs of the 2^(k−p) design, the one that takes nothing away first; k = 4 to 8 names."""
    generators = GENERATORS[len(names)]
    basic = len(names) - len(generators)
    runs = []
    for bits in range(2**basic):
        away = [bool(bits >> index & 1) for index in range(basic)]
        away += [sum(away[_LETTERS.index(letter)] for letter in word) % 2 == 1 for word in generators]
        runs.append(tuple(name for name, gone in zip(names, away, strict=True) if gone))
    place = {name: index for index, name in enumerate(names)}
    return tuple(sorted(runs, key=lambda run: (len(run), [place[name] for name in run])))


def aliases(names: Sequence[str]) -> tuple[AliasSet, ...]:
    """Which main effects and two-factor interactions of `fraction(names)` are mixed up with which effects."""
    generators = GENERATORS[len(names)]
    basic = len(names) - len(generators)
    words = [frozenset({*word, _LETTERS[basic + index]}) for index, word in enumerate(generators)]
    relation = {frozenset[str]()}
    for word in words:
        relation |= {word ^ other for other in relation}
    found: list[AliasSet] = []
    seen: set[frozenset[str]] = set()
    for order in (1, 2):
        for letters in combinations(_LETTERS[: len(names)], order):
            effect = frozenset(letters)
            if effect in seen:
                continue
            same = [effect ^ word for word in relation]
            seen.update(same)
            shown = sorted(
                (sorted(one) for one in same if len(one) <= _ORDER), key=lambda one: (len(one), one)
            )
            found.append(tuple(tuple(names[_LETTERS.index(x)] for x in one) for one in shown))
    return tuple(found)
