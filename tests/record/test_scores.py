"""The scores of single samples: what is taken, and what a file of them says."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import UnreadableRecord
from orchestrator.record import scores as module
from orchestrator.record.attempts import take_over
from orchestrator.record.layout import TrialPaths
from orchestrator.record.metrictable import publish
from orchestrator.record.scores import as_scores, packed, read_scores, unpacked, write_scores
from orchestrator.record.storage import Storage

TRIAL = TrialPaths("study/trials/no-a/seed-0")
WHOLE = packed(as_scores(range(50), [0.5] * 50))
names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)


@settings(max_examples=30)
@given(st.data())
def test_what_is_written_is_read(data: st.DataObject) -> None:
    ids = data.draw(
        st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, unique=True)
        | st.lists(names, min_size=1, unique=True)
    )
    values = data.draw(st.lists(st.floats(-1e9, 1e9), min_size=len(ids), max_size=len(ids)))
    found = unpacked(packed(as_scores(ids, values)))
    assert dict(zip(found.ids.tolist(), found.values.tolist(), strict=True)) == dict(
        zip(ids, values, strict=True)
    )
    assert found.ids.tolist() == sorted(ids)


def tensors() -> tuple[Any, Any]:
    import torch  # takes seconds: with the slow ones

    return torch.arange(3), torch.tensor([0.0, 1.0, 1.0], requires_grad=True)


@pytest.mark.parametrize(
    "held",
    [
        pytest.param(tensors, marks=pytest.mark.slow),
        lambda: (np.arange(3, dtype=np.uint8), np.array([False, True, True])),
        lambda: (range(3), iter([0, 1, 1])),
    ],
    ids=["torch", "numpy", "python"],
)
def test_what_people_hold_is_taken(held: Callable[[], tuple[Any, Any]]) -> None:
    found = as_scores(*held())
    assert found.ids.tolist() == [0, 1, 2]
    assert found.values.tolist() == [0.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("ids", "scores", "said"),
    [
        ([1, 2, 2], [0, 1, 1], "1 ids are there more than once, such as 2"),
        ([1, 2], [0.0], "2 ids and 1 scores; give one score for each id"),
        ([1, 2], [0.0, float("nan")], "1 of 2 scores are not finite"),
        ([1, 2], ["a", "b"], "the scores are texts; give one number"),
        ([1.5, 2], [0, 1], "the ids are floats; give whole numbers of 64 bits"),
        ([1, "a"], [[0], [1]], "the scores have the shape [2, 1]"),
        ([None, "a"], [0, 1], "the ids are of mixed kinds"),
        (np.array([2**63], dtype=np.uint64), [0], "an id is 2**63 or more"),
        (["a" * 201, "b"], [0, 1], "an id has more than 200 characters"),
        ([[1], [1, 2]], [0, 1], "the ids are no list of ids"),
        ([], [], "there are no ids"),
    ],
)
def test_what_is_wrong_with_scores_is_said(ids: Any, scores: Any, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        as_scores(ids, scores)


def test_there_is_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_SCORES", 40)
    with pytest.raises(ValueError, match="50 ids; 40 are the most that are kept"):
        as_scores(range(50), range(50))
    with pytest.raises(ValueError, match="more than 40 scores"):
        unpacked(WHOLE)


@given(st.binary(max_size=200) | st.tuples(st.integers(0, len(WHOLE) - 1), st.binary(max_size=8)))
def test_a_damaged_file_is_told_in_one_line(damage: bytes | tuple[int, bytes]) -> None:
    data = damage
    if isinstance(damage, tuple):
        at, put = damage
        data = WHOLE[:at] + put + WHOLE[at + len(put) :]
    assert isinstance(data, bytes)
    said = ""
    try:
        unpacked(data)
    except ValueError as error:
        said = str(error)
    assert "\n" not in said


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"id": [1], "value": [1.0]}, "not the columns id and score"),
        ({"id": [1, None], "score": [1.0, 2.0]}, "an id or a score is missing"),
        ({"id": [[1]], "score": [1.0]}, "the ids are"),
        ({"id": [1, 1], "score": [1.0, 2.0]}, "more than once"),
    ],
)
def test_a_file_of_something_else(tmp_path: Path, table: dict[str, Any], said: str) -> None:
    sink = io.BytesIO()
    pq.write_table(pa.table(table), sink)
    storage = Storage.open(tmp_path)
    storage.write_atomic(TRIAL.scores(), sink.getvalue())
    with pytest.raises(UnreadableRecord, match=r"scores\.parquet") as refused:
        read_scores(storage, TRIAL)
    assert said in str(refused.value)


def test_a_later_attempt_takes_their_place(tmp_path: Path) -> None:
    storage = Storage.open(tmp_path)
    assert read_scores(storage, TRIAL) is None
    write_scores(storage, TRIAL, as_scores([1], [0.5]))
    take_over(storage, TRIAL, 2, [])
    assert read_scores(storage, TRIAL) is None
    write_scores(storage, TRIAL, as_scores([1], [0.75]), attempt=2)
    publish(storage, TRIAL, 2)
    write_scores(storage, TRIAL, as_scores([1], [0.5]))  # a worker that nobody has told
    found = read_scores(storage, TRIAL)
    assert found is not None
    assert found.mean == 0.75
