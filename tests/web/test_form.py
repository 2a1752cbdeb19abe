"""From a study file to a form and back to words of the command."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from served_site import STUDY

from orchestrator.cli import ablate
from orchestrator.errors import InputError
from orchestrator.study.changes import lookup
from orchestrator.study.loading import Merged, apply_override, load_study
from orchestrator.study.yamlfile import parse_yaml
from orchestrator.web.form import Form, form_of, options, overrides

ROOT = Path(__file__).parents[2]
RAW: dict[str, Any] = parse_yaml(STUDY, "study.yaml").data


def untouched(form: Form) -> dict[str, list[str]]:
    """What a browser sends when nothing was changed."""
    boxes = {name: [tick.value for tick in ticks if tick.on] for name, ticks in form.groups().items()}
    return {**{field.name: [field.value] for field in form.fields}, **boxes}


def sent(**changes: Any) -> list[str]:
    form = form_of(RAW, ["other:train"])
    given = {key.replace("__", "."): value for key, value in changes.items()}
    lists = {key: value if isinstance(value, list) else [value] for key, value in given.items()}
    return overrides(form, {**untouched(form), **lists})


@pytest.mark.parametrize("config", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.name)
def test_a_form_that_nobody_touched_changes_nothing(config: Path) -> None:
    form = form_of(load_study(config).raw, [])
    assert overrides(form, untouched(form)) == []


def test_fields_have_the_kind_of_their_value() -> None:
    fields = {field.name: field for field in form_of(RAW, []).fields}
    assert (fields["baseline.model.width"].kind, fields["baseline.model.width"].value) == ("number", "32")
    assert fields["baseline.model.batchnorm"].choices == ("true", "false")
    assert fields["baseline.model.kind"].choices == ("cnn", "vit", "mlp")
    assert "resolve" in fields["stopping.rule"].choices
    assert fields["stopping.goal"].value == "save"


def test_what_may_be_done_to_a_recorded_study_are_options_of_the_command() -> None:
    flags = [tick.value for tick in form_of(RAW, []).flags]
    assert {"fresh", "extend"} < set(flags)
    known = {f"--{name.replace('_', '-')}" for name in inspect.signature(ablate.command).parameters}
    assert set(options({"flag": flags})) <= known


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"baseline__optim__lr": "3e-4"}, ["baseline.optim.lr=3e-4"]),
        (
            {"baseline__model__kind": "vit", "seeds": "[0, 7]", "component": ["batchnorm", "kind=mlp"]},
            ["baseline.model.kind=vit", "seeds=[0, 7]", "components.kind.swap.vit=null"],
        ),
        ({"name": "3", "flag": ["extend"]}, ['name="3"']),
        ({"entrypoint": "other:train"}, ["entrypoint=other:train"]),
        ({"component": ["kind=vit", "kind=mlp"]}, ["components.batchnorm=null"]),
        ({"component": ["batchnorm", "kind=vit"]}, ["components.kind.swap.mlp=null"]),
        ({"monitor": ["gradients", "curves"]}, ["monitor=[gradients, curves]"]),
        ({"monitor": []}, ["monitor=[]"]),
        ({"logger": []}, ["loggers=[]"]),
    ],
)
def test_what_was_chosen_becomes_words(changes: dict[str, Any], words: list[str], tmp_path: Path) -> None:
    assert sent(**changes) == words
    (tmp_path / "study.yaml").write_text(STUDY)
    load_study(tmp_path / "study.yaml", words)  # and the command accepts them


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"baseline__model__width": "wide"}, "is a number in the study file"),
        ({"baseline__model__batchnorm": "maybe"}, "no such choice"),
        ({"entrypoint": "os:system"}, "no such choice"),
        ({"storage": "/tmp"}, "no such field"),
        ({"component": ["others"]}, "no such choice"),
        ({"monitor": ["os:system"]}, "no such choice"),
        ({"monitor": ["auto", "curves"]}, "auto, or some of the others"),
        ({"seeds": "[1"}, "cannot be read as YAML"),
        ({"seeds": "ghp_0123456789012345678901"}, "looks like a secret"),
        ({"seeds": "1\n2"}, "control characters"),
        ({"seeds": "1" * 3000}, "is longer than"),
    ],
)
def test_what_the_form_does_not_offer_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        sent(**changes)
    assert "ghp_" not in str(caught.value)


@given(text=st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]), max_size=40))
def test_a_word_arrives_as_the_word_that_was_typed(text: str) -> None:
    raw = {**RAW, "baseline": {"name": "x"}, "components": {}}
    form = form_of(raw, [])
    try:
        words = overrides(form, {**untouched(form), "baseline.name": [text]})
    except InputError:
        return  # a secret, or a control character
    merged = Merged({"baseline": {"name": "x"}})
    assert [problem for word in words for problem in apply_override(merged, word)] == []
    assert lookup(merged.data, "baseline.name") == text.strip()
