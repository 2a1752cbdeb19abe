"""`tune`: the space, and what is refused of a search."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable

import pytest
import yaml

from orchestrator.errors import Fault
from orchestrator.study.designs import cells_per_arm
from orchestrator.study.loading import LoadedStudy
from orchestrator.study.search import (
    Choice,
    LogUniform,
    RandInt,
    Uniform,
    samples_per_arm,
    settings_in,
    study_space,
)

Load = Callable[..., LoadedStudy]
Faults = Callable[..., list[Fault]]
LR = "optim.lr: {loguniform: [1e-4, 1e-1]}"


def tuned(study_text: str, tune: str) -> str:
    return f"{study_text}tune: {tune}\n"


def test_a_space(load: Load, study_text: str) -> None:
    space = f"{{{LR}, model.width: {{choice: [8, 16]}}, model.dropout: {{uniform: [0, 0.25]}}}}"
    text = tuned(study_text, f"{{space: {space}}}").replace("width: 32", "width: 32, depth: 2")
    text = text.replace("dropout: {without: {model.dropout: 0.0}}", "dropout: {without: {model.depth: 1}}")
    spec = load(text.replace("{choice:", "{choice:")).spec
    assert study_space(spec) == {
        "optim.lr": LogUniform(1e-4, 1e-1),
        "model.width": Choice((8, 16)),
        "model.dropout": Uniform(0, 0.25),
    }
    assert math.isinf(settings_in(study_space(spec)))
    assert samples_per_arm(spec) == 8
    assert cells_per_arm(spec) == 11
    assert study_space(load().spec) == {}
    assert settings_in({"a": RandInt(1, 3), "b": Choice((1, 2))}) == 6


def test_a_study_that_tunes_can_be_loaded_from_its_own_record(load: Load, study_text: str) -> None:
    choices = "{model.width: {choice: [8, 16]}, optim.lr: {choice: [1e-3, 1e-2, 1e-1]}}"
    for tune in (f"{{space: {{{LR}}}}}", f"{{space: {choices}, search: grid, stopping: {{rule: none}}}}"):
        spec = load(tuned(study_text, tune)).spec
        assert load(yaml.safe_dump(spec.to_dict())).spec == spec
    assert samples_per_arm(spec) == 6


@pytest.mark.parametrize(
    ("tune", "field", "words"),
    [
        ("{space: {}}", "tune.space", "names no key"),
        ("{space: {optim.rl: {uniform: [0, 1]}}}", "tune.space.optim.rl", "did you mean optim.lr?"),
        (
            "{space: {baseline.optim.lr: {uniform: [0, 1]}}}",
            "tune.space.baseline.optim.lr",
            "write optim.lr",
        ),
        ("{space: {optim: {uniform: [0, 1]}}}", "tune.space.optim", "is a mapping in the baseline"),
        ("{space: {seed: {uniform: [0, 1]}}}", "tune.space.seed", "'seed' is reserved"),
        ("{space: {max_length: {uniform: [0, 1]}}}", "tune.space.max_length", "stopping.max sets it"),
        ("{space: {optim.lr: 3}}", "tune.space.optim.lr", "must be a mapping"),
        ("{space: {optim.lr: {}}}", "tune.space.optim.lr", "needs exactly one of choice"),
        (
            "{space: {optim.lr: {uniform: [0, 1], choice: [1]}}}",
            "tune.space.optim.lr",
            "exactly one of choice",
        ),
        (
            "{space: {optim.lr: {logunifrm: [0, 1]}}}",
            "tune.space.optim.lr.logunifrm",
            "did you mean loguniform?",
        ),
        ("{space: {optim.lr: {uniform: [1, 1]}}}", "tune.space.optim.lr.uniform", "must be below the upper"),
        ("{space: {optim.lr: {uniform: [1]}}}", "tune.space.optim.lr.uniform", "must be two numbers"),
        ("{space: {optim.lr: {uniform: [a, 2]}}}", "tune.space.optim.lr.uniform", "must be two numbers"),
        ("{space: {optim.lr: {loguniform: [0, 1]}}}", "tune.space.optim.lr.loguniform", "bounds above 0"),
        ("{space: {model.width: {randint: [1, 2.5]}}}", "tune.space.model.width.randint", "whole numbers"),
        ("{space: {model.width: {randint: [3, 2]}}}", "tune.space.model.width.randint", "must be below"),
        ("{space: {model.width: {randint: [0, 9.5]}}}", "tune.space.model.width.randint", "whole numbers"),
        (f"{{space: {{model.width: {{randint: [0, {10**400}]}}}}}}", "tune.space.model.width.randint", "two"),
        ("{space: {optim.lr: {uniform: [-1e308, 0]}}}", "tune.space.optim.lr.uniform", "beyond 2^53"),
        ("{space: {model.width: {choice: 3}}}", "tune.space.model.width.choice", "must be a list"),
        ("{space: {model.width: {choice: []}}}", "tune.space.model.width.choice", "is empty"),
        ("{space: {model.width: {choice: [1, 2, 1]}}}", "tune.space.model.width.choice.2", "value twice"),
        (
            "{space: {model.width: {choice: [1, 2]}}}",
            "tune.samples",
            "more than the different settings of the space, 2",
        ),
        (f"{{space: {{{LR}}}, search: grid}}", "tune.space.optim.lr", "a grid takes choice only"),
        (
            "{space: {model.width: {choice: [1, 2]}}, search: grid, samples: 5}",
            "tune.samples",
            "this grid has 2",
        ),
        (f"{{space: {{{LR}}}, search: bays}}", "tune.search", "did you mean bayes?"),
        (f"{{space: {{{LR}}}, seed: 5}}", "tune.seed", "from 10,000 up are kept free"),
        (f"{{space: {{{LR}}}, samples: 0}}", "tune.samples", "greater than or equal to 1"),
        (f"{{space: {{{LR}}}, stopping: {{grace: 8}}}}", "tune.stopping.grace", "equals max"),
        (f"{{space: {{{LR}}}, stopping: {{grace: 9}}}}", "tune.stopping.grace", "is longer than max"),
        (f"{{space: {{{LR}}}, stopping: {{grace: 1.5}}}}", "tune.stopping.grace", "whole number of epochs"),
        (
            f"{{space: {{{LR}}}, stopping: {{rule: none, grace: 2}}}}",
            "tune.stopping.grace",
            "only used with",
        ),
        (f"{{space: {{{LR}}}, samples: 900}}", "tune", "4,515 cells are needed"),
        (
            "{space: {model.dropout: {uniform: [0, 1]}}}",
            "components.dropout.without",
            "the search overrides model.dropout, so that the arm no-dropout equals baseline",
        ),
    ],
)
def test_what_a_search_refuses(faults: Faults, study_text: str, tune: str, field: str, words: str) -> None:
    found = faults(tuned(study_text, tune))
    assert [fault.field for fault in found] == [field], "\n".join(map(str, found))
    assert words in str(found[0])


def test_words_are_no_booleans_in_a_choice(faults: Faults, study_text: str) -> None:
    text = tuned(study_text, "{space: {model.batchnorm: {choice: [on, false]}}, search: grid}")
    assert any("write true" in str(fault) for fault in faults(text))


@pytest.mark.parametrize("overrides", [["seeds=[1, 10000]"], ["seeds=[9990, 1]", "stopping.goal=reinvest"]])
def test_tuning_and_evaluation_share_no_seed(faults: Faults, study_text: str, overrides: list[str]) -> None:
    text = tuned(study_text, f"{{space: {{{LR}}}}}")
    (fault,) = faults(text, ["stopping.rule=resolve", *overrides])
    assert fault.field == "tune.seed"
    assert "also a seed of the evaluation" in fault.message


def test_what_tuning_does_not_go_with(faults: Faults, study_text: str) -> None:
    text = tuned(study_text, f"{{space: {{{LR}}}}}")
    (fault,) = faults(text, ["stopping.rule=asha"])
    assert (fault.field, "with rule: resolve or none" in fault.message) == ("tune", True)
    (fault,) = faults(text, ["design=factorial", "components.optimizer=null"])
    assert (fault.field, "not possible with design: factorial" in fault.message) == ("tune", True)


def test_an_arm_may_not_replace_what_holds_a_searched_key(faults: Faults, study_text: str) -> None:
    text = study_text.replace("{model.dropout: 0.0}", "{optim: none}")
    found = faults(tuned(text, f"{{space: {{{LR}}}}}"))
    assert [fault.message for fault in found] == [
        "the arm no-dropout replaces optim, inside which the search sets a key"
    ]


def test_arms_that_differ_in_searched_keys_only(load: Load, faults: Faults, study_text: str) -> None:
    text = study_text.replace("adam: {optim.name: adam}", "slow: {optim.name: sgd, optim.lr: 0.01}")
    (fault,) = faults(tuned(text, f"{{space: {{{LR}}}}}"))
    assert "the arm optimizer=slow equals optimizer=sgd" in fault.message
    assert load(tuned(text, f"{{space: {{{LR}}}, compare: fixed}}")).spec.tune is not None


def test_bayes_without_optuna(faults: Faults, study_text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    (fault,) = faults(tuned(study_text, f"{{space: {{{LR}}}, search: bayes}}"))
    assert "pip install 'orchestrator[bayes]'" in str(fault.hint)
