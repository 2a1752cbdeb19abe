"""Logs of trials whose study lies on an object store (a local directory behind fsspec stands for one)."""

from __future__ import annotations

from pathlib import Path

from orchestrator.engine.attempts._uploads import ship_log
from orchestrator.record.storage import Storage

TARGET = "study/trials/baseline/seed-0/log.txt"


def remote(tmp_path: Path) -> Storage:
    root = tmp_path / "store"
    root.mkdir()
    storage = Storage.open(f"local://{root}")
    assert not storage.is_local
    return storage


def test_attempts_follow_each_other(tmp_path: Path) -> None:
    storage, written = remote(tmp_path), tmp_path / "log.txt"
    for attempt in ("first\n", "second\n"):
        written.write_text(attempt)
        ship_log(storage, written, TARGET)
        assert not written.exists()
    assert storage.read_text(TARGET) == "first\nsecond\n"
    assert (tmp_path / "store" / TARGET).read_text() == "first\nsecond\n"


def test_a_local_log_stays_where_it_is(tmp_path: Path) -> None:
    storage = Storage.open(tmp_path)
    written = tmp_path / "log.txt"
    written.write_text("words")
    ship_log(storage, written, "log.txt")
    assert written.read_text() == "words"


def test_a_trial_that_wrote_nothing(tmp_path: Path) -> None:
    storage = remote(tmp_path)
    ship_log(storage, tmp_path / "none.txt", TARGET)
    assert not storage.exists(TARGET)
