"""The words of a command: what a trial's values become, and what comes back when they are taken apart."""

from __future__ import annotations

import argparse
import shlex
import subprocess
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.study.arguments import (
    BadTemplate,
    arguments,
    filled,
    filled_shell,
    parts,
    shown,
    variables,
)

WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
VALUES = st.one_of(WORDS, st.integers(), st.booleans(), st.floats(allow_nan=False, allow_infinity=False))


@given(VALUES)
def test_a_value_stays_one_word(value: Any) -> None:
    assert filled(("--x", "{a.b}", "<{a.b}>"), {"a": {"b": value}}) == [
        "--x",
        shown(value),
        f"<{shown(value)}>",
    ]


@given(st.lists(VALUES, max_size=4))
def test_a_shell_sees_each_value_as_it_is(values: list[Any]) -> None:
    given_words = {str(index): value for index, value in enumerate(values)}
    text = filled_shell(" ".join(["run", *(f"{{{key}}}" for key in given_words)]), given_words)
    assert shlex.split(text) == ["run", *map(shown, values)]


@given(st.lists(st.sampled_from(["{{", "}}", "a", "{a}", "{b.c}", "}", " "])))
def test_a_text_is_taken_apart_and_filled_in(pieces: list[str]) -> None:
    text = "".join(pieces)
    values = {"a": "1", "b": {"c": "2"}}
    try:
        found = list(parts(text))
    except BadTemplate:
        return
    assert all(part.text.strip("{") in ("a", "b.c") for part in found if part.is_key) or "{{" in text
    if "{" not in text:
        assert filled((text,), values) == [text.replace("}}", "}")]


@given(st.dictionaries(st.sampled_from(["lr", "model.width", "names", "fast"]), VALUES))
def test_argparse_reads_back_what_it_was_given(config: dict[str, Any]) -> None:
    parser = argparse.ArgumentParser()
    for key, value in config.items():
        if isinstance(value, bool):
            parser.add_argument(f"--{key}", action="store_true")
        else:
            parser.add_argument(f"--{key}", type=type(value))
    read = vars(parser.parse_args(arguments("argparse", config)))
    assert read == config


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (True, ["--k"]),
        (False, []),
        (None, []),
        ([1, 2], ["--k", "1", "2"]),
        ("-x", ["--k=-x"]),
        (-0.5, ["--k=-0.5"]),
        (1e-05, ["--k", "1e-05"]),
    ],
)
def test_argparse(value: Any, words: list[str]) -> None:
    assert arguments("argparse", {"k": value}) == words


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (True, "k=true"),
        (None, "k=null"),
        (3e-4, "k=0.0003"),
        ("adamw", "k=adamw"),
        ("a b", "k='a b'"),
        ("it's", "k='it\\'s'"),
        ("true", "k='true'"),
        ("1", "k='1'"),
        ("", "k=''"),
        ([1, "a b"], "k=[1,'a b']"),
        ({}, "k={}"),
        ("a\\", "k='a\\\\'"),
    ],
)
def test_hydra(value: Any, word: str) -> None:
    assert arguments("hydra", {"k": value}) == [word]


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (True, "--k=true"),
        (False, "--k=false"),
        (None, "--k=null"),
        ([1, "a b"], '--k=[1, "a b"]'),
        ("a b", "--k=a b"),
    ],
)
def test_jsonargparse_has_a_value_for_every_key(value: Any, word: str) -> None:
    assert arguments("jsonargparse", {"k": value}) == [word]


def test_nested_keys_have_dots_and_variables_have_none() -> None:
    config = {"optim": {"lr": 0.1, "name": "sgd"}, "batch-size": 8, "gone": None}
    assert arguments("argparse", config)[:2] == ["--optim.lr", "0.1"]
    assert arguments("hydra", config)[0] == "optim.lr=0.1"
    assert variables("env", config) == {"OPTIM_LR": "0.1", "OPTIM_NAME": "sgd", "BATCH_SIZE": "8", "GONE": ""}
    assert arguments("none", config) == arguments("env", config) == []
    assert variables("none", config) == {}


def test_lists_are_words_of_their_own_or_joined() -> None:
    assert filled(("--w", "{w}", "--v={w}"), {"w": [1, 2]}) == ["--w", "1", "2", "--v=1,2"]
    assert filled(("{{x}}", ""), {}) == ["{x}", ""]


def test_a_shell_runs_what_is_written_and_never_a_value() -> None:
    text = filled_shell("echo {a} | tr a-z A-Z", {"a": "$(touch bad); `x` 'y'"})
    out = subprocess.run(["sh", "-c", text], capture_output=True, text=True, check=True).stdout
    assert out == "$(TOUCH BAD); `X` 'Y'\n"
    with pytest.raises(BadTemplate, match="in quotes"):
        filled_shell('echo "{a}"', {"a": "$(x)"})
