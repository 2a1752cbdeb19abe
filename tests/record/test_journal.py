from __future__ import annotations

import json
import math
import tracemalloc
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.decide.faults import FaultKind
from orchestrator.decide.states import Cause, TrialState
from orchestrator.errors import StudyError
from orchestrator.record.events import (
    KINDS,
    Assigned,
    AttemptFailed,
    BatchAdded,
    Checkpointed,
    Decided,
    Event,
    LookTaken,
    Noted,
    Reopened,
    Reported,
    Started,
    StudyStarted,
    TrialEnd,
    Unreadable,
)
from orchestrator.record.eventschema import journal_schema
from orchestrator.record.journal import Journal, Line, decode, encode, read_journal
from orchestrator.record.jsonlines import from_json, to_json
from orchestrator.record.storage import Storage
from orchestrator.study.cells import Cell

PATH = "study/journal.jsonl"
WORDS = st.text(max_size=8).filter(lambda word: word not in ("nan", "inf", "-inf"))
WHOLE = st.integers(-(2**63), 2**63 - 1)
SCALARS = st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats() | WORDS
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3)
)
TEXTS = st.text(max_size=8)
NUMBERS = st.floats() | st.none()
CELLS = st.text("0123456789abcdef", min_size=12, max_size=12)
EVENT: st.SearchStrategy[Event] = st.one_of(
    st.builds(Noted, TEXTS, code_hash=st.none() | TEXTS),
    st.builds(
        Reported,
        CELLS,
        TEXTS,
        st.integers(1, 9),
        NUMBERS,
        NUMBERS,
        NUMBERS,
        NUMBERS,
        st.dictionaries(WORDS, VALUES),
    ),
    st.builds(
        TrialEnd,
        CELLS,
        TEXTS,
        WHOLE,
        st.integers(0, 9),
        st.sampled_from(TrialState),
        st.none() | st.sampled_from(Cause),
        st.none() | TEXTS,
        NUMBERS,
        NUMBERS,
        st.floats(0, 9),
        st.floats(0, 9),
    ),
    st.builds(Started, CELLS, st.integers(1, 9), TEXTS, st.lists(TEXTS).map(tuple), st.none() | WHOLE),
)
REUSE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and math.isnan(one):
        return isinstance(other, float) and math.isnan(other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
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


@pytest.mark.slow
@REUSE
@given(events=st.lists(EVENT, max_size=6), cut=st.integers(0, 2000))
def test_every_whole_line_survives_a_cut_anywhere(local: Storage, events: list[Event], cut: int) -> None:
    local.delete_grown(PATH)
    journal = Journal(local, PATH, clock=lambda: 12.5)
    journal.append(*events)
    journal.close()
    data = local.read_bytes(PATH)
    kept = data[: min(cut, len(data))]
    local.write_atomic(PATH, kept)

    whole, torn = kept.count(b"\n"), len(kept) - (kept.rfind(b"\n") + 1)
    contents = read_journal(local, PATH)
    assert contents.torn == torn
    assert contents.damaged == ()
    assert [(line.t, line.driver) for line in contents.lines] == [(12.5, 0)] * whole
    for event, written in zip(contents.events, events, strict=False):
        assert type(event) is type(written)
        assert same(asdict(event), asdict(written))

    journal = Journal(local, PATH, clock=lambda: 13.0)
    assert journal.contents.torn == torn
    journal.append(Noted("after"))
    journal.close()
    again = read_journal(local, PATH)
    assert (again.torn, again.damaged, len(again.lines)) == (0, (), whole + 1)
    assert again.lines[-1].event == Noted("after")


def test_it_continues_over_any_storage(storage: Storage) -> None:
    for number in range(3):
        journal = Journal(storage, PATH)
        assert len(journal.contents.lines) == 2 * number
        journal.append(Noted(f"{number}a"))
        journal.sync()
        journal.append(Noted(f"{number}b"))
        journal.close()
    texts = ["0a", "0b", "1a", "1b", "2a", "2b"]
    assert list(read_journal(storage, PATH).events) == [Noted(text) for text in texts]


def test_a_torn_segment_is_repaired(storage: Storage) -> None:
    journal = Journal(storage, PATH)
    journal.append(Noted("good"))
    journal.close()
    part = storage.grown(PATH)[-1]
    storage.write_atomic(part, storage.read_bytes(part) + b'{"v":1,"event":"no')
    journal = Journal(storage, PATH)
    assert journal.contents.torn == 18
    journal.append(Noted("next"))
    journal.close()
    contents = read_journal(storage, PATH)
    assert list(contents.events) == [Noted("good"), Noted("next")]
    assert contents.torn == 0


def test_damaged_lines_are_named_and_passed_over(local: Storage) -> None:
    good = b'{"event":"note","text":"x","later":[1]}\n'
    local.write_atomic(PATH, good + b'rubbish\n\x00\x00\n{"event":"unheard of"}\n[1]\n{"event":"end"}\n')
    contents = read_journal(local, PATH)
    assert contents.damaged == (2, 3, 4, 5)
    first, last = contents.events
    assert first == Noted("x")
    assert isinstance(last, Unreadable)
    assert last.why.startswith("cell: Field required; arm: ")


def test_a_line_of_another_version_is_refused_in_words(local: Storage) -> None:
    local.write_atomic(PATH, b'{"v":1,"event":"note","text":"x"}\n{"v":2,"event":"unheard of"}\n')
    with pytest.raises(StudyError) as caught:
        read_journal(local, PATH)
    assert caught.value.exit_code == 2
    text = str(caught.value)
    assert text.startswith(f"{local.uri}/{PATH}:2: the journal's lines have version 2, and this version")
    assert text.endswith("use the version that has written it (env.json names it), or a later one than this")


def test_a_journal_is_read_again_only_when_there_is_more(storage: Storage) -> None:
    journal = Journal(storage, PATH)
    journal.append(Noted("one"))
    journal.sync()
    before = read_journal(storage, PATH)
    assert read_journal(storage, PATH, before) is before
    journal.append(Noted("two"))
    journal.close()
    after = read_journal(storage, PATH, before)
    assert list(after.events) == [Noted("one"), Noted("two")]


def test_a_long_damaged_line_is_in_memory_twice_while_it_is_read_and_not_later(local: Storage) -> None:
    journal = Journal(local, PATH)
    journal.append(Noted("one"))
    journal.sync()
    journal.close()
    long = 16 << 20
    with Path(local.local_path(PATH)).open("ab") as file:
        file.write(b'{"event":"note","text":"' + b"x" * long + b'"}\n')
    tracemalloc.start()
    try:
        read = read_journal(local, PATH)
        kept, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (len(read.lines), read.damaged) == (1, (2,))
    assert most < 2.1 * long
    assert kept < 0.1 * long


def test_a_missing_journal_is_empty(storage: Storage) -> None:
    assert read_journal(storage, PATH).lines == ()


def test_numpy_scalars_are_numbers() -> None:
    import numpy as np

    row = {"a": np.float32(0.5), "b": np.int64(3), "c": np.float64("nan"), "d": Path("x"), "e": np.arange(2)}
    back = from_json(to_json(row))
    assert (back["a"], back["b"], back["d"]) == (0.5, 3, "x")
    assert math.isnan(back["c"])


CELL = "0" * 12
EXAMPLES: list[Event] = [
    StudyStarted("ab12", 40, "new", ("baseline",), {"1": 3}),
    BatchAdded("interactions: auto", ({"arm": "no-a+no-b"},), (asdict(Cell(CELL, "no-a+no-b", 0)),)),
    Assigned(CELL, "baseline", 0, 1, "3", None),
    Started(CELL, 1, "lane-3", ("A100",), 120),
    Reported(CELL, "baseline", 1, 2.0, 2.0, 0.5, math.nan, {"val/accuracy": math.inf, "epoch": 2}),
    Decided(CELL, "stop", TrialState.STOPPED, "asha", 2.0, 0.75, 3, 4, "rank 3 of 4"),
    LookTaken("fixed", 0, "no-a", 3, 3, "futile", -0.1, -0.5, 0.3, 0.4, 0.002, 0.01, 40),
    Checkpointed(CELL, 1, "step-00000120", 120, 2.0, 0.5),
    AttemptFailed(
        CELL, 1, Cause.INFRA, "a worker died", True, None, FaultKind.UNKNOWN, wall_s=0.5, gpu_s=0.0
    ),
    TrialEnd(CELL, "baseline", 0, 2, TrialState.FAILED, Cause.USER, "ValueError", None, None, 1.5, 0.0, None),
    Reopened(CELL, "baseline", 0, TrialState.DONE, "ada@host"),
    Noted("changed code was accepted", code_hash="cd34"),
]
# what older versions did not write yet, and what is written only where there is something to say
OPTIONAL = {"arms", "taken", "fault", "wall_s", "gpu_s", "code_hash", "code", "imported", "beside", "curve"}


def schema() -> dict[str, Any]:
    path = Path(__file__).parents[2] / "docs" / "journal.schema.json"
    return dict(json.loads(path.read_text(encoding="utf-8")))


def test_the_schema_is_that_of_the_events() -> None:
    assert schema() == journal_schema(), (
        "python -m orchestrator.record.eventschema > docs/journal.schema.json"
    )


def test_every_kind_of_event_follows_the_schema_and_comes_back(local: Storage) -> None:
    journal = Journal(local, PATH, driver=3)
    journal.append(*EXAMPLES)
    journal.close()
    validator = jsonschema.Draft202012Validator(schema())
    lines = [json.loads(line) for line in local.read_lines(PATH)]
    assert [line["event"] for line in lines] == list(KINDS)
    for line in lines:
        validator.validate(line)
        assert list(line)[:3] == ["v", "t", "event"]
        assert line["driver"] == 3
    for event, example in zip(read_journal(local, PATH).events, EXAMPLES, strict=True):
        assert same(asdict(event), asdict(example))


def test_the_schema_refuses_what_is_missing_or_misspelt() -> None:
    validator = jsonschema.Draft202012Validator(schema())
    for example in EXAMPLES:
        line = json.loads(encode(Line(0.0, 0, example)))
        for key in line:
            without = validator.is_valid({name: item for name, item in line.items() if name != key})
            optional = key in OPTIONAL and not (isinstance(example, TrialEnd) and key.endswith("_s"))
            assert without is optional, (example, key)
        assert not validator.is_valid({**line, "sead": 1}), example


def test_secrets_of_the_environment_do_not_reach_the_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_TOKEN", "hunter2-very-secret")
    line = encode(Line(0.0, 0, Noted("refused: hunter2-very-secret")))
    assert decode(line) == Line(0.0, 0, Noted("refused: ***"))


LINES = st.dictionaries(
    st.sampled_from(
        ["v", "t", "event", "driver", "cell", "attempt", "name", "step", "length", "value", "other"]
    ),
    VALUES | st.sampled_from(["checkpoint", "nan", 1, 1.0, 10**30, [[[]]], "é", "\\"]),
)


@given(LINES, st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_plain_line_means_what_it_does_when_read_with_care(
    local: Storage, fields: dict[str, Any], whole: bool
) -> None:
    known = {"v": 1, "t": 2, "event": "checkpoint", "cell": "0" * 12, "attempt": 1, "name": "step-1"}
    line = {**known, "step": 1, "length": 2, "value": 0.1, **fields} if whole else fields
    text = json.dumps({**line, **({} if line.get("v", 1) != 1 else {"v": 1})}).encode()
    local.write_atomic(PATH, text + b"\n")
    try:
        expected = decode(text)
    except StudyError:
        with pytest.raises(StudyError):
            read_journal(local, PATH)
        return
    assert repr(read_journal(local, PATH).lines) == repr(() if expected is None else (expected,))


def test_one_odd_line_changes_nothing_for_its_neighbours(local: Storage) -> None:
    plain = Checkpointed("0" * 12, 1, "step-1", 1, 1.0, 0.5)
    odd = Checkpointed("0" * 12, 1, "é\\", 1, math.inf, math.nan)
    lines = [Line(float(n), n % 3, odd if n % 7 == 3 else plain) for n in range(3_000)]
    local.write_atomic(PATH, b"".join(encode(line) + b"\n" for line in lines))
    assert repr(list(read_journal(local, PATH).lines)) == repr(lines)


def test_nesting_has_its_limit_in_every_kind_of_line(local: Storage) -> None:
    def note(deep: int) -> bytes:
        return b'{"v":1,"t":1.0,"event":"note","text":"a","more":' + b"[" * deep + b"]" * deep + b"}\n"

    local.write_atomic(PATH, note(90) + note(150) + note(250) + note(20_000) + note(1))
    assert read_journal(local, PATH).damaged == (3, 4)
