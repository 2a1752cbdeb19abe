"""Arms, cells, plan, identity: what is run, in which order, and under which name."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable

import pytest

from orchestrator.errors import Fault, StudyError
from orchestrator.study.cells import Plan, make_plan, trial_config
from orchestrator.study.designs import expand_arms
from orchestrator.study.identity import (
    differences,
    extends_only,
    extension_hint,
    frozen_view,
    seeds_are_registered,
)
from orchestrator.study.loading import LoadedStudy
from orchestrator.study.spec import StudySpec

Load = Callable[..., LoadedStudy]
Faults = Callable[..., list[Fault]]


def test_leave_one_out(load: Load) -> None:
    arms = expand_arms(load().spec)
    assert [arm.name for arm in arms] == [
        "baseline",
        "no-batchnorm",
        "no-dropout",
        "optimizer=sgd",
        "optimizer=adam",
    ]
    assert [arm.kind for arm in arms] == ["reference", "without", "without", "swap", "swap"]
    assert arms[0].set == {}
    assert arms[0].component is None
    assert arms[1].set == {"model.batchnorm": False}
    assert arms[1].why == "does it matter?"
    assert arms[3].component == "optimizer"
    assert arms[3].config == {
        "model": {"width": 32, "batchnorm": True, "dropout": 0.1},
        "optim": {"name": "sgd", "lr": 0.1},
    }


def test_add_one_in(load: Load) -> None:
    plan = make_plan(load(overrides=["design=add-one-in"]).spec)
    assert [arm.name for arm in plan.arms] == ["stripped", "only-batchnorm", "only-dropout"]
    assert plan.reference == "stripped"
    assert plan.arm("stripped").set == {"model.batchnorm": False, "model.dropout": 0.0}
    assert plan.arm("only-batchnorm").set == {"model.dropout": 0.0}
    assert plan.arm("only-batchnorm").config["model"] == {"width": 32, "batchnorm": True, "dropout": 0.0}
    assert plan.arm("only-batchnorm").kind == "only"


def test_add_one_in_needs_something_to_add(faults: Faults) -> None:
    overrides = ["design=add-one-in", "components.batchnorm=null", "components.dropout=null"]
    (fault,) = faults(overrides=overrides)
    assert (fault.field, "needs at least one component with 'without'" in fault.message) == ("design", True)


def test_add_one_in_with_components_that_share_a_key(faults: Faults, study_text: str) -> None:
    text = study_text.replace("{model.dropout: 0.0}", "{model.dropout: 0.0, model.batchnorm: false}")
    found = faults(text, ["design=add-one-in"])
    assert "dropout and batchnorm both change model.batchnorm" in found[0].message


def test_a_component_may_have_both(load: Load, study_text: str) -> None:
    text = study_text.replace(
        "{without: {model.dropout: 0.0}}",
        "{without: {model.dropout: 0.0}, swap: {half: {model.dropout: 0.5}}}",
    )
    assert [arm.name for arm in expand_arms(load(text).spec)][2:4] == ["no-dropout", "dropout=half"]


def test_a_mapping_changes_inside_a_mapping(load: Load, study_text: str) -> None:
    text = study_text.replace("{model.batchnorm: false}", "{model: {batchnorm: false, width: 8}}")
    arm = expand_arms(load(text).spec)[1]
    assert arm.set == {"model.batchnorm": False, "model.width": 8}
    assert arm.config["model"]["dropout"] == 0.1


def test_order_of_cells(load: Load) -> None:
    cells = make_plan(load(overrides=["components.optimizer=null"]).spec).cells
    assert [(cell.seed, cell.arm) for cell in cells] == [
        (0, "baseline"),
        (1, "baseline"),
        (0, "no-batchnorm"),
        (0, "no-dropout"),
        (1, "no-batchnorm"),
        (1, "no-dropout"),
        (2, "baseline"),
        (2, "no-batchnorm"),
        (2, "no-dropout"),
    ]


@pytest.mark.parametrize("seeds", ["1", "2", "[5]", "[9, 3, 4]"])
def test_every_pair_exactly_once(load: Load, seeds: str) -> None:
    loaded = load(overrides=[f"seeds={seeds}"])
    plan = make_plan(loaded.spec)
    pairs = {(cell.arm, cell.seed) for cell in plan.cells}
    assert len(pairs) == len(plan.cells) == 5 * len(loaded.spec.seeds)
    assert len({cell.cell for cell in plan.cells}) == len(plan.cells)
    assert all(len(cell.cell) == 12 and int(cell.cell, 16) >= 0 for cell in plan.cells)


def test_plan_survives_json_and_pickle(load: Load) -> None:
    plan = make_plan(load().spec)
    again = Plan.from_json(json.loads(json.dumps(plan.to_json(), allow_nan=False)))
    assert again == plan
    assert pickle.loads(pickle.dumps(plan)) == plan
    assert again.cell(plan.cells[3].cell) == plan.cells[3]
    with pytest.raises(KeyError):
        plan.arm("no-such")


def test_trial_config_adds_what_the_trial_needs(load: Load) -> None:
    spec = load().spec
    plan = make_plan(spec)
    config = trial_config(plan, plan.cells[1], spec)
    assert (config["seed"], config["max_length"]) == (1, 8)
    config["model"]["width"] = 0
    assert plan.arms[0].config["model"]["width"] == 32


def identities(load: Load, *overrides: str) -> list[str]:
    return [cell.cell for cell in make_plan(load(overrides=overrides).spec).cells]


@pytest.mark.parametrize(
    "override",
    [
        "name=other",
        "storage=elsewhere",
        "budget.wall=1h",
        "resources.max_parallel=2",
        "resources.reuse_workers=false",
        "resources.gpus_per_worker=0",
        "metric.name=val/loss",
        "stopping.rule=asha",
        "checkpoint.every=2",
        "components.batchnorm.why=other",
        "stopping.max=8.0",
    ],
)
def test_identity_does_not_depend_on(load: Load, override: str) -> None:
    assert identities(load, override) == identities(load)


@pytest.mark.parametrize(
    "override",
    [
        "baseline.optim.lr=0.002",
        "baseline.model.width=32.5",
        "entrypoint=code.trial:Other",
        "seeds=[3, 4, 5]",
        "stopping.max=9",
        "stopping.unit=step",
        "resources.workers=2",
    ],
)
def test_identity_depends_on(load: Load, override: str) -> None:
    assert identities(load, override)[0] != identities(load)[0]


def test_identity_is_pinned(load: Load) -> None:
    assert identities(load)[0] == "f7510f7cdaf7"


def test_an_arm_keeps_its_identity_when_others_come_and_go(load: Load) -> None:
    fewer = set(identities(load, "components.dropout=null"))
    assert fewer < set(identities(load))


def view(load: Load, *overrides: str, text: str | None = None) -> dict[str, object]:
    loaded = load(text, overrides) if text else load(overrides=overrides)
    return frozen_view(loaded.spec)


@pytest.mark.parametrize(
    "override",
    [
        "budget.wall=1h",
        "failures.max_retries=0",
        "checkpoint.every=2",
        "storage=x",
        "resources.max_parallel=3",
        "components.dropout.why=x",
        "components.dropout.label=drop out",
        "components.optimizer.labels={sgd: plain SGD}",
    ],
)
def test_what_may_change(load: Load, override: str) -> None:
    assert differences(view(load), view(load, override)) == []


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("stopping.max=9", "stopping.max: 8 → 9"),
        ("baseline.optim.lr=0.002", "baseline.optim.lr: 0.001 → 0.002"),
        ("seeds=2", "seeds: [0, 1, 2] → [0, 1]"),
        ("components.dropout=null", "components.dropout: a mapping → not there"),
        ("report.alpha=0.1", "report.alpha: 0.05 → 0.1"),
        ("metric.mode=min", 'metric.mode: "max" → "min"'),
        ("metric.at=best", 'metric.at: not there → "best"'),
        ("metric.test=test/acc", 'metric.test: not there → "test/acc"'),
    ],
)
def test_what_may_not_change_is_listed(load: Load, override: str, line: str) -> None:
    assert differences(view(load), view(load, override)) == [line]
    assert make_plan(load(overrides=[override]).spec).hash != make_plan(load().spec).hash


def test_extensions_only_add(load: Load, study_text: str) -> None:
    fewer = view(load, "components.dropout=null", "seeds=2")
    assert extends_only(fewer, view(load))
    assert not extends_only(view(load), fewer)
    assert extends_only(view(load, "components.optimizer.swap.adam=null"), view(load))
    assert not extends_only(fewer, view(load, "stopping.max=9"))
    assert not extends_only(fewer, view(load, "components.batchnorm.without.model.batchnorm=null"))
    stripped = view(load, "components.dropout=null", "design=add-one-in")
    assert not extends_only(stripped, view(load, "design=add-one-in"))
    assert extends_only(view(load, "design=add-one-in"), view(load, "design=add-one-in", "seeds=5"))


SWAP = "components.optimizer.swap.adam=null"
PAIR = "interactions=[[batchnorm, dropout]]"


@pytest.mark.parametrize(
    ("before", "after", "accepted"),
    [
        ((), (PAIR,), True),
        ((PAIR,), (PAIR, "seeds=5"), True),
        ((PAIR,), (), False),
        ((PAIR, SWAP), ("interactions=[[dropout, batchnorm], [optimizer, dropout]]", SWAP), True),
        (
            ("interactions=[[optimizer, dropout]]", SWAP),
            ("interactions=[[optimizer, dropout]]", SWAP, "components.optimizer.without={optim.lr: 0.5}"),
            False,
        ),
        ((), ("interactions=auto",), False),
        (("interactions=auto", "components.dropout=null"), ("interactions=auto",), True),
        (("design=pairs", "components.dropout=null"), ("design=pairs",), True),
        (
            ("design=pairs", "components.dropout=null"),
            ("design=pairs", "exclude=[[batchnorm, dropout]]"),
            True,
        ),
        (("design=pairs",), ("design=pairs", "exclude=[[batchnorm, dropout]]"), False),
        (("design=pairs", "exclude=[[batchnorm, dropout]]"), ("design=pairs",), False),
        (("stopping.rule=resolve", "components.dropout=null"), ("stopping.rule=resolve",), True),
        (("stopping.rule=resolve",), ("stopping.rule=resolve", "seeds=5"), False),
        ((), ("max_cells=3000",), True),
    ],
)
def test_what_extends_a_study(
    load: Load, before: tuple[str, ...], after: tuple[str, ...], accepted: bool
) -> None:
    assert extends_only(view(load, *before), view(load, *after)) is accepted
    if accepted:
        assert set(identities(load, *before)) <= set(identities(load, *after))


def test_a_factorial_study_takes_more_seeds_only(load: Load) -> None:
    factorial = ("design=factorial", "components.optimizer=null")
    assert extends_only(view(load, *factorial), view(load, *factorial, "seeds=4"))
    fewer = view(load, *factorial, "components.dropout=null")
    assert not extends_only(fewer, view(load, *factorial))
    assert extension_hint(fewer, view(load, *factorial)) == "--extend accepts only more seeds here"


def test_seeds_of_a_sequential_study_are_registered(load: Load) -> None:
    before, more = view(load, "stopping.rule=resolve"), view(load, "stopping.rule=resolve", "seeds=5")
    assert seeds_are_registered(before)
    assert "voids its error levels" in extension_hint(before, more)
    other = view(load, "stopping.rule=resolve", "stopping.max=9")
    assert extension_hint(before, other).startswith("--extend accepts only more components, alternatives and")
    add_one = [view(load, "stopping.rule=resolve", "design=add-one-in", f"seeds={n}") for n in (3, 4)]
    assert extension_hint(*add_one).endswith("nothing can be added here")


def test_a_plan_of_a_spec_made_by_hand_refuses_what_the_loader_would(load: Load) -> None:
    data = load().spec.to_dict()
    data["components"]["dropout"]["without"] = {"model.dropout": 0.1}
    data["components"]["batchnorm"]["without"] = {"model.norm": 0}
    with pytest.raises(StudyError) as caught:
        make_plan(StudySpec.model_validate(data))
    assert len(caught.value.faults) == 2
