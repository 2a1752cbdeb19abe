from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.errors import InternalError
from orchestrator.record.journal import (
    EVENTS,
    Journal,
    decode_event,
    encode_event,
    from_json,
    read_journal,
    to_json,
)
from orchestrator.record.storage import Storage

PATH = "study/journal.jsonl"
WORDS = st.text(max_size=8).filter(lambda word: word not in ("nan", "inf", "-inf"))
SCALARS = st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats() | WORDS
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3)
)
FIELDS = st.dictionaries(
    st.text("abcdef_", min_size=1, max_size=5).filter(lambda key: key != "event"), VALUES, max_size=4
)
EVENT = st.builds(lambda kind, fields: {"event": kind, **fields}, st.sampled_from(EVENTS), FIELDS)
REUSE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)


def same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and math.isnan(one):
        return isinstance(other, float) and math.isnan(other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


@given(VALUES)
def test_json_is_strict_and_comes_back(value: Any) -> None:
    line = to_json(value)
    assert b"\n" not in line

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    json.loads(line, parse_constant=refuse)
    assert same(from_json(line), value)


@REUSE
@given(events=st.lists(EVENT, max_size=6), cut=st.integers(0, 2000))
def test_every_whole_line_survives_a_cut_anywhere(
    local: Storage, events: list[dict[str, Any]], cut: int
) -> None:
    local.delete_grown(PATH)
    journal = Journal.open(local, PATH, clock=lambda: 12.5)
    journal.append_many(events)
    journal.close()
    data = local.read_bytes(PATH)
    kept = data[: min(cut, len(data))]
    local.write_atomic(PATH, kept)

    whole, torn = kept.count(b"\n"), len(kept) - (kept.rfind(b"\n") + 1)
    contents = read_journal(local, PATH)
    assert contents.torn == torn
    assert contents.damaged == ()
    expected = [{"v": 1, "t": 12.5, **event} for event in events[:whole]]
    assert same(list(contents.events), expected)

    journal = Journal.open(local, PATH, clock=lambda: 13.0)
    assert journal.torn_bytes == torn
    journal.append("note", text="after")
    journal.close()
    again = read_journal(local, PATH)
    assert (again.torn, again.damaged, len(again.events)) == (0, (), whole + 1)
    assert again.events[-1]["text"] == "after"


def test_it_continues_over_any_storage(storage: Storage) -> None:
    for number in range(3):
        journal = Journal.open(storage, PATH)
        assert len(journal.contents.events) == 2 * number
        journal.append("note", text=f"{number}a")
        journal.sync()
        journal.append("note", text=f"{number}b")
        journal.close()
    assert [event["text"] for event in read_journal(storage, PATH).events] == [
        "0a",
        "0b",
        "1a",
        "1b",
        "2a",
        "2b",
    ]


def test_a_torn_segment_is_repaired(storage: Storage) -> None:
    journal = Journal.open(storage, PATH)
    journal.append("note", text="good")
    journal.close()
    part = storage.grown(PATH)[-1]
    storage.write_atomic(part, storage.read_bytes(part) + b'{"v":1,"event":"no')
    journal = Journal.open(storage, PATH)
    assert journal.torn_bytes == 18
    journal.append("note", text="next")
    journal.close()
    contents = read_journal(storage, PATH)
    assert [event["text"] for event in contents.events] == ["good", "next"]
    assert contents.torn == 0


def test_damaged_lines_are_named_and_passed_over(local: Storage) -> None:
    local.write_atomic(
        PATH, b'{"event":"note"}\nrubbish\n\x00\x00\n{"event":"unheard of"}\n[1]\n{"event":"end"}\n'
    )
    contents = read_journal(local, PATH)
    assert contents.damaged == (2, 3, 4, 5)
    assert [event["event"] for event in contents.events] == ["note", "end"]


def test_unknown_events_are_a_bug(local: Storage) -> None:
    journal = Journal.open(local, PATH)
    with pytest.raises(InternalError, match="valid: plan, batch, assign"):
        journal.append("party", fun=True)
    journal.close()


def test_a_missing_journal_is_empty(storage: Storage) -> None:
    assert read_journal(storage, PATH).events == ()


def test_numpy_scalars_are_numbers() -> None:
    import numpy as np

    row = {"a": np.float32(0.5), "b": np.int64(3), "c": np.float64("nan"), "d": Path("x"), "e": np.arange(2)}
    back = from_json(to_json(row))
    assert (back["a"], back["b"], back["d"]) == (0.5, 3, "x")
    assert math.isnan(back["c"])


EXAMPLES: list[dict[str, Any]] = [
    {"event": "plan", "plan_hash": "ab12", "cells": 40, "reason": "new"},
    {"event": "batch", "reason": "interactions: auto", "new_arms": [{"arm": "no-a+no-b"}],
     "new_cells": [{"cell": "0" * 12, "arm": "no-a+no-b", "seed": 0, "phase": "fixed", "sample": None,
                    "set": {}}]},
    {"event": "assign", "cell": "0" * 12, "arm": "baseline", "seed": 0, "attempt": 1, "lane": "3",
     "resume": None},
    {"event": "start", "cell": "0" * 12, "attempt": 1, "lane": "lane-3", "devices": ["A100"], "resume": 120},
    {"event": "report", "cell": "0" * 12, "arm": "baseline", "attempt": 1, "rung": 2, "length": 2,
     "score": 0.5, "value": math.nan, "metrics": {"val/accuracy": math.inf, "epoch": 2}},
    {"event": "decision", "cell": "0" * 12, "action": "stop", "state": "stopped", "rule": "asha", "rung": 2,
     "cutoff": 0.75, "rank": 3, "peers": 4, "reason": "rank 3 of 4"},
    {"event": "look", "phase": "fixed", "family": 0, "arm": "no-a", "number": 3, "n": 3, "action": "futile",
     "delta": -0.1, "lo": -0.5, "hi": 0.3, "p": 0.4, "level": 0.002, "power": 0.01, "seeds_needed": 40},
    {"event": "checkpoint", "cell": "0" * 12, "attempt": 1, "name": "step-00000120", "step": 120, "length": 2,
     "value": 0.5},
    {"event": "failure", "cell": "0" * 12, "attempt": 1, "cause": "infra", "message": "a worker died",
     "again": True, "node": None},
    {"event": "end", "cell": "0" * 12, "arm": "baseline", "seed": 0, "attempt": 2, "state": "failed",
     "cause": "user", "reason": "ValueError", "length": None, "value": None, "wall_s": 1.5, "gpu_s": 0.0,
     "lane": None},
    {"event": "note", "text": "changed code was accepted", "code_hash": "cd34"},
]  # fmt: skip


def schema() -> dict[str, Any]:
    path = Path(__file__).parents[2] / "docs" / "journal.schema.json"
    return dict(json.loads(path.read_text(encoding="utf-8")))


def test_every_kind_of_event_follows_the_schema(local: Storage) -> None:
    journal = Journal.open(local, PATH)
    journal.append_many(EXAMPLES)
    journal.close()
    validator = jsonschema.Draft202012Validator(schema())
    lines = [json.loads(line) for line in local.read_lines(PATH)]
    assert [line["event"] for line in lines] == list(EVENTS)
    for line in lines:
        validator.validate(line)


def test_the_schema_refuses_what_is_missing_or_misspelt() -> None:
    validator = jsonschema.Draft202012Validator(schema())
    for example in EXAMPLES:
        line = json.loads(to_json({"v": 1, "t": 0.0, **example}))
        for key in line:
            if key != "code_hash":
                assert not validator.is_valid({k: v for k, v in line.items() if k != key}), (example, key)
        if example["event"] != "note":
            assert not validator.is_valid({**line, "sead": 1}), example


def test_secrets_of_the_environment_do_not_reach_the_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_TOKEN", "hunter2-very-secret")
    line = encode_event({"event": "failure", "reason": "refused: hunter2-very-secret"}, 0.0)
    assert decode_event(line) == {"v": 1, "t": 0.0, "event": "failure", "reason": "refused: ***"}
