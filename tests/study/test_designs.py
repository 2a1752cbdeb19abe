"""Pairs, factorial and fractional designs: which arms they have, and what their contrasts estimate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations, product
from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import Fault, StudyError
from orchestrator.study.designs import (
    GENERATORS,
    Arm,
    Contrast,
    aliases,
    all_runs,
    expand_arms,
    fraction,
    pair_arms,
    possible_pairs,
    searched_config,
)
from orchestrator.study.loading import LoadedStudy
from orchestrator.study.registered import design_of
from orchestrator.study.spec import StudySpec

Load = Callable[..., LoadedStudy]
Faults = Callable[..., list[Fault]]
LETTERS = "abcdefghijkl"


def study(count: int, **keys: object) -> StudySpec:
    """A study of that many components, named a, b, ..., each with a key of its own."""
    names = LETTERS[:count]
    data: dict[str, object] = {
        "name": "crossed",
        "entrypoint": "code.trial:Trial",
        "metric": {"name": "score", "mode": "max"},
        "baseline": dict.fromkeys(names, True),
        "components": {name: {"without": {name: False}} for name in names},
        "seeds": 2,
        "stopping": {"max": 1},
        **keys,
    }
    return StudySpec.model_validate(data)


def contrasts(spec: StudySpec, arms: tuple[Arm, ...]) -> tuple[Contrast, ...]:
    return design_of(spec).contrasts(spec, arms)


def named(spec: StudySpec) -> tuple[dict[str, Arm], dict[str, Contrast]]:
    arms = expand_arms(spec)
    return {arm.name: arm for arm in arms}, {found.name: found for found in contrasts(spec, arms)}


def value(contrast: Contrast, outcomes: Mapping[str, float]) -> float:
    return sum(weight * outcomes[arm] for arm, weight in contrast.weights.items())


def test_pairs_of_all_components_that_can_be_taken_away(load: Load) -> None:
    spec = load(overrides=["design=pairs"]).spec
    arms, effects = named(spec)
    assert list(arms) == [
        "baseline",
        "no-batchnorm",
        "no-dropout",
        "optimizer=sgd",
        "optimizer=adam",
        "no-batchnorm+no-dropout",
    ]
    pair = arms["no-batchnorm+no-dropout"]
    assert (pair.kind, pair.component, pair.parts) == ("pair", None, ("batchnorm", "dropout"))
    assert pair.set == {"model.batchnorm": False, "model.dropout": 0.0}
    assert pair.config["model"] == {"width": 32, "batchnorm": False, "dropout": 0.0}
    interaction = effects["no-batchnorm+no-dropout"]
    assert (interaction.kind, interaction.components) == ("interaction", ("batchnorm", "dropout"))
    assert interaction.weights == {
        "no-batchnorm+no-dropout": 1,
        "no-batchnorm": -1,
        "no-dropout": -1,
        "baseline": 1,
    }
    assert interaction.scale == 4


def test_listed_pairs_take_a_single_alternative_too(load: Load) -> None:
    overrides = ["components.optimizer.swap.adam=null", "interactions=[[optimizer, batchnorm]]"]
    arms, effects = named(load(overrides=overrides).spec)
    assert list(arms)[-1] == "no-batchnorm+optimizer=sgd"
    assert effects["no-batchnorm+optimizer=sgd"].weights["optimizer=sgd"] == -1
    assert [effect.kind for effect in effects.values()] == ["main"] * 3 + ["interaction"]


def test_contrasts_of_one_change_at_a_time(load: Load) -> None:
    arms, effects = named(load().spec)
    assert list(effects) == list(arms)[1:]
    assert effects["optimizer=sgd"].components == ("optimizer",)
    assert effects["optimizer=sgd"].weights == {"optimizer=sgd": 1, "baseline": -1}
    _, effects = named(load(overrides=["design=add-one-in"]).spec)
    assert effects["only-dropout"].weights == {"only-dropout": 1, "stripped": -1}
    assert effects["only-dropout"].reference == "stripped"


def test_auto_adds_its_arms_later() -> None:
    spec = study(3, interactions="auto", exclude=[["a", "c"]])
    first = expand_arms(spec)
    assert [arm.name for arm in first] == ["baseline", "no-a", "no-b", "no-c"]
    assert possible_pairs(spec) == (("a", "b"), ("b", "c"))
    assert possible_pairs(spec, {"no-c", "no-b", "b=x"}) == (("b", "c"),)
    later = pair_arms(spec, [("c", "b"), ("b", "c")])
    assert [arm.name for arm in later] == ["no-b+no-c"]
    assert later[0].config == {"a": True, "b": False, "c": False}
    assert [effect.name for effect in contrasts(spec, first + later)] == [
        "no-a",
        "no-b",
        "no-c",
        "no-b+no-c",
    ]


def test_an_excluded_pair_has_no_arm() -> None:
    arms, _ = named(study(3, design="pairs", exclude=[["c", "a"]]))
    assert list(arms)[4:] == ["no-a+no-b", "no-b+no-c"]


def test_factorial_has_every_combination() -> None:
    arms, effects = named(study(3, design="factorial"))
    assert list(arms) == [
        "baseline",
        "no-a",
        "no-b",
        "no-c",
        "no-a+no-b",
        "no-a+no-c",
        "no-b+no-c",
        "no-a+no-b+no-c",
    ]
    assert [arm.kind for arm in arms.values()] == ["reference"] + ["without"] * 3 + ["combination"] * 4
    assert arms["no-a+no-c"].parts == ("a", "c")
    assert arms["no-a"].component == "a"
    assert effects["no-b"].weights == {name: 0.25 if "no-b" in name else -0.25 for name in arms}
    assert effects["no-b"].scale == 0.5
    assert list(effects) == ["no-a", "no-b", "no-c"]


def test_factorial_takes_a_single_alternative(load: Load) -> None:
    overrides = ["components.optimizer.swap.adam=null", "design=factorial", "interactions=auto"]
    arms, effects = named(load(overrides=overrides).spec)
    assert len(arms) == 8
    assert list(effects)[2:4] == ["optimizer=sgd", "no-batchnorm+no-dropout"]
    assert arms["no-dropout+optimizer=sgd"].set == {
        "model.dropout": 0.0,
        "optim.name": "sgd",
        "optim.lr": 0.1,
    }


@st.composite
def planted(draw: st.DrawFn) -> tuple[StudySpec, dict[tuple[str, ...], float]]:
    """A factorial study with random exclusions, and the effects of a world without higher interactions."""
    count = draw(st.integers(1, 5))
    names = LETTERS[:count]
    groups = st.lists(st.sampled_from(names), min_size=2, max_size=3, unique=True)
    exclude = draw(st.lists(groups, max_size=3)) if count > 1 else []
    spec = study(count, design="factorial", interactions="auto", exclude=exclude)
    effects = [(name,) for name in names] + list(possible_pairs(spec))
    sizes = draw(st.lists(st.integers(-9, 9), min_size=len(effects), max_size=len(effects)))
    return spec, dict(zip(effects, map(float, sizes), strict=True))


def outcome(arm: Arm, effects: Mapping[tuple[str, ...], float]) -> float:
    """±½ coding: a main effect is the average over the others."""
    away = set(arm.parts or ([arm.component] if arm.component else []))
    return 7 + sum(
        size * prod(0.5 if name in away else -0.5 for name in key) for key, size in effects.items()
    )


@pytest.mark.slow
@given(planted())
def test_factorial_recovers_what_was_planted(world: tuple[StudySpec, dict[tuple[str, ...], float]]) -> None:
    spec, effects = world
    arms = expand_arms(spec)
    assert not any(set(group) <= set(arm.parts) for group in spec.exclude for arm in arms)
    outcomes = {arm.name: outcome(arm, effects) for arm in arms}
    found = {contrast.components: contrast for contrast in contrasts(spec, arms)}
    assert found.keys() == effects.keys()
    for components, size in effects.items():
        assert value(found[components], outcomes) == pytest.approx(size, abs=1e-9)
        assert sum(found[components].weights.values()) == pytest.approx(0, abs=1e-9)


@given(
    st.sampled_from(["leave-one-out", "add-one-in", "pairs", "factorial", "fractional"]), st.integers(4, 6)
)
def test_every_contrast_sums_to_zero(design: str, count: int) -> None:
    spec = study(count, design=design)
    arms = expand_arms(spec)
    effects = contrasts(spec, arms)
    assert len({effect.name for effect in effects}) == len(effects)
    for effect in effects:
        assert sum(effect.weights.values()) == 0
        assert set(effect.weights) <= {arm.name for arm in arms}


@pytest.mark.parametrize("count", GENERATORS)
def test_fractions_are_orthogonal_and_hold_the_baseline(count: int) -> None:
    names = LETTERS[:count]
    runs = fraction(names)
    assert runs[0] == ()
    assert len(set(runs)) == len(runs) == 2 ** (count - len(GENERATORS[count]))
    X = np.array([[1, *(-1 if name in run else 1 for name in names)] for run in runs])
    assert np.array_equal(X.T @ X, len(runs) * np.eye(count + 1))


@pytest.mark.parametrize("count", GENERATORS)
def test_alias_table_agrees_with_the_columns(count: int) -> None:
    names = LETTERS[:count]
    effects = [one for order in (1, 2, 3) for one in combinations(names, order)]
    columns = {
        one: tuple(prod(-1 if name in run else 1 for name in one) for run in fraction(names))
        for one in effects
    }
    sets = aliases(names)
    place = {one: index for index, found in enumerate(sets) for one in found}
    for one, other in product(effects, effects):
        if len(one) <= 2:
            assert (columns[one] == columns[other]) == (place[one] == place.get(other)), (one, other)
            # resolution IV: nothing of two components is mixed up with a main effect
            assert columns[one] != columns[other] or one == other or len(one) + len(other) >= 4
    assert len(sets) == len({columns[one] for one in effects if len(one) <= 2})
    assert all(list(map(len, found)) == sorted(map(len, found)) for found in sets)


def test_fractional_main_effects_come_from_all_runs() -> None:
    spec = study(4, design="fractional")
    arms, effects = named(spec)
    assert len(arms) == 8
    assert list(effects) == ["no-a", "no-b", "no-c", "no-d"]
    assert set(effects["no-d"].weights) == set(arms)
    assert {abs(weight) for weight in effects["no-d"].weights.values()} == {0.25}
    outcomes = {arm.name: 3.0 * ("a" in arm.parts) - 2.0 * ("d" in arm.parts) for arm in arms.values()}
    assert [value(effect, outcomes) for effect in effects.values()] == [3, 0, 0, -2]
    table = design_of(spec).aliases(spec)
    factorial = study(4, design="factorial")
    assert table[0] == (("a",), ("b", "c", "d"))
    assert table[4] == (("a", "b"), ("c", "d"))
    assert design_of(factorial).aliases(factorial) == ()


def test_all_runs_stop_when_asked() -> None:
    endless = all_runs([f"c{index}" for index in range(500)])
    assert [next(endless) for _ in range(3)] == [(), ("c0",), ("c1",)]
    assert list(all_runs("abc", [("a", "b")])) == [(), ("a",), ("b",), ("c",), ("a", "c"), ("b", "c")]


def test_a_reference_follows_what_the_search_has_chosen(load: Load, study_text: str) -> None:
    text = study_text.replace("width: 32,", 'width: 32, hidden: "${.width}",')
    spec = load(text + "tune: {space: {model.width: {choice: [8, 16]}}, search: grid}\n").spec
    arm = expand_arms(spec)[1]
    chosen = searched_config(spec, arm, {"model.width": 8})
    assert chosen["model"] == {"width": 8, "hidden": 8, "batchnorm": False, "dropout": 0.1}
    assert arm.config["model"]["hidden"] == 32


def found_in(found: Sequence[Fault], field: str, words: str) -> bool:
    return any(fault.field == field and words in str(fault) for fault in found)


CROSSED_FAULTS = [
    (["interactions=[[batchnorm, dropot]]"], "interactions.0", "'dropot'; did you mean dropout?"),
    (["interactions=[[batchnorm, batchnorm]]"], "interactions.0", "pair of two different components"),
    (
        ["interactions=[[batchnorm, dropout], [dropout]]"],
        "interactions.1",
        "pair of two different components",
    ),
    (["exclude=[[batchnorm, dropout], [dropout]]"], "exclude.1", "at least two different components"),
    (["interactions=sometimes"], "interactions", "must be none, auto, or a list of pairs"),
    (["interactions=[[optimizer=sgd, optimizer=adam]]"], "interactions.0", "two alternatives of optimizer"),
    (["interactions=[[optimizer=sgd, dropout]]"], "interactions.0", "write optimizer"),
    (["interactions=[[optimizer, dropout]]"], "interactions.0", "has 2 alternatives and no 'without'"),
    (
        ["interactions=[[dropout, batchnorm], [batchnorm, dropout]]"],
        "interactions.1",
        "names a pair twice",
    ),
    (["interactions=[[a, b, c]]"], "interactions.0", "a pair of two different components"),
    (
        ["interactions=[[dropout, batchnorm]]", "exclude=[[batchnorm, dropout]]"],
        "interactions.0",
        "excluded by 'exclude'",
    ),
    (["exclude=[[batchnorm, dropot]]"], "exclude.0", "did you mean dropout?"),
    (["design=add-one-in", "exclude=[[batchnorm, dropout]]"], "exclude.0", "takes all components away"),
    (["design=add-one-in", "interactions=auto"], "interactions", "not in add-one-in"),
    (["design=pairs", "interactions=auto"], "interactions", "runs every pair anyway"),
    (["interactions=auto", "stopping.rule=asha"], "interactions", "resolves no effect"),
    (["design=factorial"], "components.optimizer", "not both or several (got 2 alternatives)"),
    (["design=fractional", "components.optimizer=null"], "design", "takes 4 to 8 components, here are 2"),
]


@pytest.mark.parametrize(("overrides", "field", "words"), CROSSED_FAULTS)
def test_combinations_that_make_no_sense(
    faults: Faults, overrides: list[str], field: str, words: str
) -> None:
    found = faults(overrides=overrides)
    assert found_in(found, field, words), "\n".join(map(str, found))
    assert len(found) == 1, "\n".join(map(str, found))


@pytest.mark.parametrize(
    ("keys", "field", "words"),
    [
        ({"exclude": [["a", "b"]]}, "exclude", "each of its runs is needed"),
        ({"interactions": [["a", "b"]]}, "interactions", "they are aliased with each other"),
        ({"interactions": "auto"}, "interactions", "use design: factorial"),
    ],
)
def test_what_a_fraction_cannot_do(keys: dict[str, object], field: str, words: str) -> None:
    with pytest.raises(StudyError) as caught:
        expand_arms(study(4, design="fractional", **keys))
    (fault,) = caught.value.faults
    assert (fault.field, words in str(fault)) == (field, True)


@pytest.mark.parametrize("count", [3, 9])
def test_fractions_there_are_none_of(count: int) -> None:
    with pytest.raises(StudyError, match=f"takes 4 to 8 components, here are {count}"):
        expand_arms(study(count, design="fractional"))


@pytest.mark.parametrize(
    ("keys", "hint"),
    [
        ({"design": "pairs"}, "add [a, b] to exclude"),
        ({"interactions": "auto"}, "add [a, b] to exclude"),
        ({"interactions": [["a", "b"]]}, "remove this pair"),
        ({"design": "factorial"}, "add [a, b] to exclude"),
        ({"design": "fractional"}, "use design: factorial with exclude"),
    ],
)
def test_two_components_that_share_a_key(keys: dict[str, object], hint: str) -> None:
    components = {name: {"without": {name: False}} for name in "abcd"}
    components["b"] = {"without": {"b": False, "a": None}}
    with pytest.raises(StudyError) as caught:
        expand_arms(study(4, components=components, **keys))
    (fault,) = caught.value.faults
    assert "a and b both change a: they cannot be taken away together" in fault.message
    assert hint in str(fault.hint)
    if "fractional" not in keys.values() and keys.get("interactions") != [["a", "b"]]:
        expand_arms(study(4, components=components, exclude=[["a", "b"]], **keys))


@pytest.mark.parametrize("design", ["factorial", "fractional", "pairs"])
def test_one_fault_of_a_component_is_told_once(design: str) -> None:
    components = {name: {"without": {name: name == "b"}} for name in "abcd"}
    with pytest.raises(StudyError) as caught:
        expand_arms(study(4, design=design, components=components))
    assert [(fault.field, fault.message) for fault in caught.value.faults] == [
        ("components.b.without", "the arm no-b changes nothing: it equals baseline")
    ]


def test_a_pair_that_equals_another_arm() -> None:
    components = {name: {"without": {name: False}} for name in "ab"}
    components["both"] = {"without": {"a": False, "b": False}}
    for keys in ({"design": "pairs"}, {"interactions": [["a", "b"]]}, {"interactions": "auto"}):
        exclude = [["a", "both"], ["b", "both"]]
        with pytest.raises(StudyError) as caught:
            expand_arms(study(2, components=components, exclude=exclude, **keys))
        assert [fault.message for fault in caught.value.faults] == [
            "the arm no-a+no-b equals the arm no-both"
        ]


def test_names_of_combinations_fit_a_directory() -> None:
    names = [letter * 40 for letter in "abcdef"]
    baseline = dict.fromkeys(names, 1)
    components = {name: {"without": {name: 0}} for name in names}
    with pytest.raises(StudyError, match="characters, too many"):
        expand_arms(study(6, baseline=baseline, components=components, design="factorial"))


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"seeds": 700}, "2,100 cells are needed (3 arms; 700 seeds each), but max_cells allows 2,000"),
        ({"seeds": 700}, "use fewer seeds, or max_cells: 2100"),
        ({"count": 8, "design": "factorial", "seeds": 8}, "2,048 cells are needed (256 arms"),
        ({"count": 8, "design": "factorial", "seeds": 8}, "design: fractional (16 arms, 128 cells)"),
        ({"count": 12, "design": "factorial", "exclude": [["a", "b"]]}, "more than 2,0"),
        ({"design": "pairs", "max_cells": 3}, "8 cells are needed"),
        ({"count": 4, "interactions": "auto", "seeds": 200}, "of them 6 pairs that interactions: auto"),
        (
            {"tune": {"space": {"x": {"choice": [1]}}, "samples": 900, "compare": "both"}},
            "2,712 cells are needed (3 arms; 2 seeds, fixed and retuned and 900 samples each)",
        ),
        (
            {"tune": {"space": {"x": {"choice": list(range(999))}}, "search": "grid"}},
            "3,003 cells are needed (3 arms; 2 seeds and 999 samples each)",
        ),
        (
            {"seeds": 700, "stopping": {"rule": "resolve", "max": 1, "goal": "reinvest", "max_seeds": 900}},
            "2,100 cells are needed",
        ),
    ],
)
def test_too_many_cells(keys: dict[str, object], words: str) -> None:
    given = dict(keys)
    count = given.pop("count", 2)
    assert isinstance(count, int)
    with pytest.raises(StudyError) as caught:
        expand_arms(study(count, **given))
    assert len(caught.value.faults) == 1
    assert words in str(caught.value), str(caught.value)


def test_tuning_that_is_switched_off_needs_no_cells() -> None:
    tune = {"space": {"a": {"choice": [1]}}, "samples": 900, "compare": "fixed"}
    assert len(expand_arms(study(2, tune=tune))) == 3
