"""The seeds that the effects come from, and when they are looked at."""

from __future__ import annotations

from orchestrator.study.spec import StudySpec
from orchestrator.study.stopping import rule_of

_LOOKS = (3, 4, 5, 6, 8, 10, 12)
_FEW_SEEDS = 6


def standard_looks(most: int) -> tuple[int, ...]:
    """The numbers of seeds after which one looks when an arm gets at most that many (`looks: auto`)."""
    return (*(look for look in _LOOKS if look < most), most)


def standard_gamma(most: int) -> float:
    """The exponent of the spending function (`gamma: auto`): late spending for few seeds, even for many."""
    return 2.0 if most <= _FEW_SEEDS else 1.0


def most_seeds(spec: StudySpec) -> int:
    """The most seeds that an arm may get: those of the file, or more where the stopping rule adds some."""
    return rule_of(spec).most_seeds(spec)


def evaluation_seeds(spec: StudySpec) -> tuple[int, ...]:
    """The seeds of the study in their order, those that the rule may add included.

    What is added are the next whole numbers above the largest seed of the file: fixed before the first run.
    """
    first = max(spec.seeds) + 1
    return spec.seeds + tuple(range(first, first + most_seeds(spec) - len(spec.seeds)))


def looks(spec: StudySpec) -> tuple[int, ...]:
    """After how many seeds `resolve` looks at the effects, ascending; the last is the most an arm may get."""
    given = spec.stopping.looks
    if given != "auto":
        return given
    found, seeds = standard_looks(most_seeds(spec)), len(spec.seeds)
    # with goal: reinvest the budget is the seeds of the file: it has to pay for the first look at least
    return found if found[0] <= seeds else (seeds, *found)


def gamma(spec: StudySpec) -> float:
    """Exponent of the spending function α·t^γ."""
    given = spec.stopping.gamma
    return standard_gamma(most_seeds(spec)) if given == "auto" else float(given)
