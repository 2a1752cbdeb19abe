"""What is read off the trace that trials leave: progress, and what a fault has cost."""

from __future__ import annotations

from pathlib import Path

import pytest
from traces import Trace
from verdict import computed_beside

CELL = ("baseline", 0)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "trace"


def lines(*epochs: tuple[int, int, float]) -> str:
    """Number, process, time."""
    return "".join(f"baseline 0 {number} {pid} {at}\n" for number, pid, at in epochs)


def test_an_epoch_counts_once_and_half_a_line_not_at_all(file: Path) -> None:
    trace = Trace(file)
    trace.read()
    assert trace.finished == 0
    file.write_text(lines((1, 10, 1.0), (2, 10, 2.0)) + "baseline 0 3")
    trace.read()
    assert trace.finished == 2
    file.write_text(lines((1, 10, 1.0), (2, 10, 2.0), (3, 10, 3.0), (3, 11, 9.0)))
    trace.read()
    assert trace.finished == 3
    assert trace.last(CELL).pid == 11
    assert trace.doing(10) == CELL


def test_steps_repeated_are_those_of_the_process_that_was_hit(file: Path) -> None:
    # hit at 3.5, still finished epoch 4, and another process went on from a checkpoint of epoch 2
    file.write_text(
        lines((1, 10, 1.0), (2, 10, 2.0), (3, 10, 3.0), (4, 10, 4.0), (3, 11, 9.0), (4, 11, 10.0))
    )
    trace = Trace(file)
    trace.read()
    assert trace.repeated(CELL, since=3.5) == 2
    assert trace.again(CELL, 3.5, not_by=10) == 9.0
    assert trace.again(CELL, 3.5) == 4.0
    assert trace.repeated(CELL, since=9.5) == 0
    assert trace.again(CELL, 10.5) is None


def test_a_worker_that_goes_on_beside_its_successor_is_seen(file: Path) -> None:
    file.write_text(lines((1, 10, 1.0), (2, 11, 2.0), (2, 10, 3.0), (3, 11, 4.0)))
    trace = Trace(file)
    trace.read()
    assert computed_beside(trace) == 1
