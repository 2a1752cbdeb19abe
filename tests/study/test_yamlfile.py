"""The YAML loader: no surprises in, no traps out."""

from __future__ import annotations

import math
import pickle

import pytest

from orchestrator.errors import StudyError
from orchestrator.study.yamlfile import MAX_DEPTH, Place, parse_yaml


def faults(text: str) -> list[str]:
    with pytest.raises(StudyError) as caught:
        parse_yaml(text, "f.yaml")
    assert pickle.loads(pickle.dumps(caught.value)).faults == caught.value.faults
    return [str(fault) for fault in caught.value.faults]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"),
        ("off", "off"),
        ("no", "no"),
        ("yes", "yes"),
        ("y", "y"),
        ("true", True),
        ("false", False),
        ("True", True),
        ("1e-3", 1e-3),
        ("1E5", 1e5),
        ("-.5", -0.5),
        ("3.", 3.0),
        ("1_000", 1000),
        ("010", 10),
        ("0x1f", 31),
        ("0o17", 15),
        ("1:30", "1:30"),
        ("2024-01-31", "2024-01-31"),
        ("2h", "2h"),
        ("1.2.3", "1.2.3"),
        ("e3", "e3"),
        ("~", None),
        ("", None),
        ("null", None),
        ("'true'", "true"),
        ("!!str 5", "5"),
        ("!!float 5", 5.0),
        ("=", "="),
        (".inf", math.inf),
        ("-.inf", -math.inf),
    ],
)
def test_scalars_mean_what_they_say(text: str, value: object) -> None:
    parsed = parse_yaml(f"x: {text}", "f.yaml").data["x"]
    assert parsed == value
    assert type(parsed) is type(value)


def test_every_value_knows_its_line() -> None:
    places = parse_yaml("a: 1\nb:\n  - x\n  - {c: 2,\n     d: 3}\n", "f.yaml").places
    assert places[("a",)] == Place("f.yaml", 1)
    assert places[("b",)] == Place("f.yaml", 2)
    assert places[("b", 1)] == Place("f.yaml", 4)
    assert places[("b", 1, "d")] == Place("f.yaml", 5)


def test_aliases_and_merge_keys_give_separate_copies() -> None:
    data = parse_yaml("a: &a {x: {z: 1}, y: 2}\nb: *a\nc: {<<: *a, y: 3}\nd: {<<: [{q: 1}, *a]}\n", "f").data
    assert data["b"] == data["a"]
    assert data["b"]["x"] is not data["a"]["x"]
    assert data["c"] == {"y": 3, "x": {"z": 1}}
    assert data["d"] == {"q": 1, "x": {"z": 1}, "y": 2}


def test_duplicate_keys_are_all_reported_with_both_lines() -> None:
    found = faults("a: 1\nb: {c: 1, c: 2}\na: 2\n")
    assert len(found) == 2
    assert found[0] == (
        "f.yaml:2: b.c: the key 'c' is given twice; it is already given at line 2; keep one of the two"
    )
    assert found[1].startswith("f.yaml:3: a: the key 'a' is given twice; it is already given at line 1")


@pytest.mark.slow
def test_alias_bomb_is_refused() -> None:
    levels = "\n".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]" for i in range(9)
    )
    (fault,) = faults(f"a: &a [x]\n{levels}\n")
    assert "aliases expand to more than" in fault


@pytest.mark.parametrize("text", ["a: &a [*a]", "a: &a {b: {c: *a}}", "a: &a {<<: *a}"])
def test_alias_to_itself_is_refused(text: str) -> None:
    assert "contains it" in faults(text)[0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [1, 2\nb: 3\n", "not valid YAML"),
        ("a: 1\n\tb: 2\n", "indent with spaces, not tabs"),
        ("a: b: c", "needs quotes"),
        ("a: 1\n--- \nb: 2\n", "expected a single document"),
        ("a: *nowhere", "undefined alias"),
        ("a: !!python/object/apply:os.system [ls]", "tag !!python/object/apply:os.system is not allowed"),
        ("a: !secret x", "tag !secret is not allowed"),
        ("1: x", "a key must be a word, not 1; write it in quotes"),
        ("true: x", "a key must be a word"),
        ("~: x", "a key must be a word, not ~"),
        ("[a]: x", "a key must be a word, not a list"),
        ("a: {<<: 3}", "takes an alias"),
        ("a: <<", "is only a key"),
        ('a: "\\ud800"', "cannot be read as str"),
        ('a: "\\U00110000"', "not valid YAML"),
        ("a: \x01", "not valid YAML"),
        ("a: !!int x", "cannot be read as int"),
        ("a: " + "9" * 5000, "cannot be read as int"),
        ("a: " + "[" * 500, f"nested deeper than {MAX_DEPTH} levels"),
        ("a: " + "x" * 1_000_001, "longer than"),
    ],
)
def test_what_is_refused_is_named(text: str, words: str) -> None:
    assert any(words in fault for fault in faults(text)), faults(text)


def test_position_of_an_unreadable_character() -> None:
    assert faults("a: 1\nb: \x01\n")[0].startswith("f.yaml:2: ")


def test_question_marks_are_part_of_words() -> None:
    data = parse_yaml("a: {why: does it matter?, b: ???}\nc: [x?y, ?z]\n? d\n: 1\n", "f.yaml").data
    assert data == {"a": {"why": "does it matter?", "b": "???"}, "c": ["x?y", "?z"], "d": 1}


def test_a_key_of_its_own_beside_a_merged_one_keeps_its_line() -> None:
    places = parse_yaml("a: &a\n  x: 1\n  y: 2\nb:\n  x: 3\n  <<: *a\n", "f").places
    assert (places[("b", "x")].line, places[("b", "y")].line) == (5, 3)
