"""Pictures in event files: found as they come, hidden when an attempt hides them, never taken for another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from orchestrator.record import pictures
from orchestrator.record.pictures import PNG, EventPictures
from orchestrator.record.storage import Storage
from orchestrator.record.tensorboard import EventFile


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage.open(tmp_path)


def draw(file: EventFile, *steps: int) -> None:
    for step in steps:
        file.scalars({"loss": 1.0}, step, 0.0)
        file.image("seen", np.full((2, 2, 3), step, np.uint8), step, 0.0)
    file.sync()


def steps(reader: EventPictures) -> list[int]:
    found = reader.newest_first()
    assert all(reader.content(one).startswith(PNG) for one in found)
    return [one.step for one in found]


def test_a_later_attempt_hides_what_it_goes_back_behind(storage: Storage) -> None:
    reader = EventPictures(storage, "s/trial")
    assert reader.newest_first() == []
    first = EventFile(storage, "s/trial", 1)
    draw(first, 1, 2)
    assert steps(reader) == [2, 1]
    draw(first, 3)
    assert steps(reader) == [3, 2, 1]
    later = EventFile(storage, "s/trial", 2, purge_step=2)
    draw(later, 4)
    assert steps(reader) == [4, 1]
    assert steps(EventPictures(storage, "s/trial")) == [4, 1]
    first.close()
    later.close()


def test_a_torn_record_is_read_when_it_is_whole(storage: Storage, tmp_path: Path) -> None:
    file = EventFile(storage, "s/trial", 1)
    draw(file, 1, 2)
    file.close()
    path = next((tmp_path / "s" / "trial").iterdir())
    whole = path.read_bytes()
    reader = EventPictures(storage, "s/trial")
    found = []
    for size in range(0, len(whole) + 1, 7):
        path.write_bytes(whole[:size])
        found.append(len(reader.newest_first()))
    path.write_bytes(whole)
    assert steps(reader) == [2, 1]
    assert found == sorted(found)
    before = reader.newest_first()
    path.write_bytes(b"\0" * len(whole))
    with pytest.raises(FileNotFoundError):
        reader.content(before[0])
    path.write_bytes(b"\xff" * 40)
    assert reader.newest_first() == []  # a shorter one is another file


def test_long_files_are_named_and_not_read(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    file = EventFile(storage, "s/trial", 1)
    draw(file, 1)
    file.close()
    monkeypatch.setattr(pictures, "MOST_BYTES", 10)
    reader = EventPictures(storage, "s/trial")
    assert reader.newest_first() == []
    assert len(reader.too_long) == 1
