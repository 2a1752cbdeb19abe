"""Seeds and looks of a sequential study, and what is refused around `resolve`."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from orchestrator.decide.sequential import RESOLVE as RULE
from orchestrator.errors import Fault
from orchestrator.study.cells import evaluation_seeds
from orchestrator.study.loading import LoadedStudy
from orchestrator.study.spec import StudySpec

Load = Callable[..., LoadedStudy]
Faults = Callable[..., list[Fault]]
RESOLVE = "stopping.rule=resolve"
FIRST = "stopping.version=1"
SCREEN = (RESOLVE, "stopping.goal=screen")
REINVEST = (RESOLVE, "stopping.goal=reinvest")


@pytest.mark.parametrize(
    ("overrides", "most", "expected", "exponent"),
    [
        (("seeds=2",), 2, (2,), 3),
        (("seeds=5",), 5, (2, 3, 4, 5), 3),
        (("seeds=20",), 20, (2, 3, 4, 5, 6, 8, 10, 12, 20), 3),
        (("seeds=2", FIRST), 2, (2,), 2),
        (("seeds=3", FIRST), 3, (3,), 2),
        (("seeds=5", FIRST), 5, (3, 4, 5), 2),
        (("seeds=5", "report.variance=per_arm"), 5, (3, 4, 5), 2),
        (("seeds=6", FIRST), 6, (3, 4, 5, 6), 2),
        (("seeds=7", FIRST), 7, (3, 4, 5, 6, 7), 1),
        (("seeds=20", FIRST), 20, (3, 4, 5, 6, 8, 10, 12, 20), 1),
        (("seeds=5", "stopping.goal=screen"), 5, (2, 3, 4, 5), 3),
        (("seeds=5", *REINVEST[1:]), 12, (2, 3, 4, 5, 6, 8, 10, 12), 1.5),
        (("seeds=5", *REINVEST[1:], "stopping.max_seeds=6"), 6, (2, 3, 4, 5, 6), 2),
        (("seeds=5", *REINVEST[1:], FIRST), 12, (3, 4, 5, 6, 8, 10, 12), 1),
        (("seeds=5", *REINVEST[1:], FIRST, "stopping.max_seeds=6"), 6, (3, 4, 5, 6), 2),
        (("seeds=5", "stopping.looks=[2,3,4,5]", "stopping.gamma=1.5"), 5, (2, 3, 4, 5), 1.5),
    ],
)
def test_looks(
    load: Load, overrides: tuple[str, ...], most: int, expected: tuple[int, ...], exponent: float
) -> None:
    spec = load(overrides=[RESOLVE, *overrides]).spec
    assert (RULE.most_seeds(spec), RULE.looks(spec), RULE.gamma(spec)) == (most, expected, exponent)
    assert len(evaluation_seeds(spec)) == most


def test_added_seeds_are_the_next_ones(load: Load) -> None:
    assert evaluation_seeds(load(overrides=["seeds=[7, 3]"]).spec) == (7, 3)
    spec = load(overrides=[*REINVEST, "seeds=[7, 3]", "stopping.max_seeds=4"]).spec
    assert evaluation_seeds(spec) == (7, 3, 8, 9)


FAULTS = [
    ([RESOLVE, "stopping.version=3"], "stopping.version", "valid: 1 to 2, auto"),
    ([*REINVEST, "stopping.version=3"], "stopping.version", "valid: 1 to 2, auto"),
    ([RESOLVE, "report.variance=per_arm", "stopping.version=2"], "stopping.version", "valid: 1, auto"),
    (["stopping.version=3"], "stopping.version", "rule: none has no such version"),
    (["stopping.version=0"], "stopping.version", "auto"),
    ([RESOLVE, "seeds=1"], "seeds", "one seed says nothing about the spread"),
    ([RESOLVE, "seeds=[4]"], "seeds", "(got [4])"),
    ([RESOLVE, "stopping.unit=seconds"], "stopping.unit", "only possible with rule: asha"),
    ([RESOLVE, "stopping.looks=[2]"], "stopping.looks", "must end with 3, the number of seeds"),
    ([RESOLVE, "stopping.looks=[2, 3, 4]"], "stopping.looks", "use [2, 3]"),
    ([RESOLVE, "stopping.looks=[1, 3]"], "stopping.looks", "ascending numbers of seeds from 2"),
    ([RESOLVE, "stopping.looks=[3, 2]"], "stopping.looks", "ascending numbers of seeds from 2"),
    ([*REINVEST, "stopping.looks=[3, 5]"], "stopping.looks", "must end with 12, max_seeds"),
    ([*REINVEST, "stopping.max_seeds=2"], "stopping.max_seeds", "is below the number of seeds, 3"),
    ([*REINVEST, "seeds=[0, 4294967290]"], "seeds", "leave no room for the seeds"),
    ([*SCREEN, "seeds=1"], "seeds", "one seed says nothing"),
    ([*SCREEN, "components.optimizer=null"], "stopping.goal", "at least 4 arms beside the reference, this"),
    ([*SCREEN, "report.variance=per_arm"], "stopping.goal", "use variance: moderated, or goal: save"),
    ([*SCREEN, "stopping.max_seeds=8"], "stopping.max_seeds", "is only used with goal: reinvest"),
    ([RESOLVE, "stopping.max_seeds=8"], "stopping.max_seeds", "is only used with goal: reinvest"),
    ([RESOLVE, "stopping.gamma=0"], "stopping.gamma", "must be a positive number, or auto"),
    ([RESOLVE, "stopping.futility=1"], "stopping.futility", "less than 1"),
    ([RESOLVE, "stopping.futility=-0.1"], "stopping.futility", "greater than or equal to 0"),
    ([RESOLVE, "report.alpha=0"], "report.alpha", "must be greater than 0 (got 0); for example alpha: 0.05"),
    ([RESOLVE, "report.alpha=1"], "report.alpha", "must be less than 1 (got 1)"),
    ([RESOLVE, "report.margin=0"], "report.margin", "null tests no equivalence"),
    ([RESOLVE, "report.margin=-0.5"], "report.margin", "must be greater than 0 (got -0.5)"),
    (["stopping.goal=reinvest"], "stopping.goal", "is only used with rule: resolve"),
    (["stopping.max_seeds=5"], "stopping.max_seeds", "is only used with rule: resolve"),
    (["stopping.looks=[3]"], "stopping.looks", "is only used with rule: resolve"),
    (["stopping.gamma=2"], "stopping.gamma", "is only used with rule: resolve"),
    (["stopping.rule=asha", "stopping.futility=0"], "stopping.futility", "is only used with rule: resolve"),
    (
        [RESOLVE, "design=factorial", "components.optimizer=null"],
        "stopping.rule",
        "is not possible with design: factorial",
    ),
    (
        ["stopping.rule=asha", "design=factorial", "components.optimizer=null"],
        "stopping.rule",
        "use rule: none",
    ),
]


@pytest.mark.parametrize(("overrides", "field", "words"), FAULTS)
def test_what_resolve_refuses(faults: Faults, overrides: list[str], field: str, words: str) -> None:
    (fault,) = faults(overrides=overrides)
    assert fault.field == field
    assert words in str(fault)


def test_resolve_on_a_fractional_design(faults: Faults, study_text: str) -> None:
    parts = "".join(f"  c{index}: {{without: {{c.x{index}: 0}}}}\n" for index in range(3))
    text = study_text.replace("  optimizer:", f"{parts}  # optimizer:")
    text = text.replace("baseline:\n", "baseline:\n  c: {x0: 1, x1: 1, x2: 1}\n")
    (fault,) = faults(text, [RESOLVE, "design=fractional"])
    assert "not possible with design: fractional" in fault.message


def test_the_study_on_disk_holds_every_default_and_can_be_loaded_again(load: Load) -> None:
    import yaml

    for overrides in ([], [RESOLVE], list(REINVEST), ["stopping.rule=asha"]):
        spec = load(overrides=overrides).spec
        assert load(yaml.safe_dump(spec.to_dict())).spec == spec
        assert StudySpec.model_validate(spec.to_dict()) == spec
