from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.simulate.generator import scenario
from orchestrator.simulate.methods import METHODS, SimulatedDesign, pick
from orchestrator.simulate.series import Series, run

QUICK = pick(["grid-paired", "asha-kept"])
SERIES = Series(scenario("S1", arms=3), SimulatedDesign(seeds=3), studies=250)


@pytest.mark.slow
def test_the_number_of_processes_changes_nothing() -> None:
    two_parts = replace(SERIES, studies=120)
    assert run(two_parts, QUICK, jobs=2) == run(two_parts, QUICK)


def test_methods_do_not_influence_each_other() -> None:
    small = replace(SERIES, studies=20)
    assert run(small, QUICK)[1:] == run(small, QUICK[1:])


def test_progress_is_told() -> None:
    heard: list[int] = []
    run(SERIES, QUICK[:1], progress=heard.append)
    assert heard == [100, 200, 250]


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ([], list(METHODS)),
        (["none"], ["grid-paired", "grid", "grid-1"]),
        (["asha", "grid"], ["grid", "asha", "asha-kept"]),
        (["strict", "save"], ["save", "strict"]),
    ],
)
def test_methods_are_named_by_rule_or_by_name(words: list[str], names: list[str]) -> None:
    assert [method.name for method in pick(words)] == names


def test_an_unknown_rule_is_refused_with_the_valid_ones() -> None:
    with pytest.raises(ValueError, match=r"'halving'.*valid: asha, none, resolve, grid-paired"):
        pick(["halving"])
