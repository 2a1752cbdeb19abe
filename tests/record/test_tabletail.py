"""The table of a trial that runs, read on from where the last look has ended."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.record.layout import StudyPaths
from orchestrator.record.metrictable import REPORT_COLUMNS, REPORTS, TableTail, close_table, read_table
from orchestrator.record.storage import Storage
from orchestrator.record.storage.directory import Directory

TRIAL = StudyPaths("s").trial("baseline", 0)
FILES = TRIAL.table("metrics")


def line(report: int) -> bytes:
    return json.dumps({"report": report}).encode() + b"\n"


def numbers(found: tuple[list[dict[str, int]], bool]) -> tuple[list[int], bool]:
    return [row["report"] for row in found[0]], found[1]


@pytest.mark.parametrize("segments", [False, True])
def test_each_look_reads_what_is_new(tmp_path: Path, segments: bool, monkeypatch) -> None:
    storage, tail = Storage.open(tmp_path), TableTail()
    read: list[int] = []
    directly = Directory.read

    def counted(self: Directory, path: str, *, written_once: bool = False, start: int = 0) -> bytes:
        data = directly(self, path, written_once=written_once, start=start)
        read.append(len(data))
        return data

    monkeypatch.setattr(Directory, "read", counted)

    def append(number: int, data: bytes) -> None:
        file = storage.local_path(f"{FILES.jsonl}.{number:05d}" if segments else FILES.jsonl)
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("ab") as out:
            out.write(data)

    assert numbers(tail.read(storage, TRIAL, REPORTS)) == ([], False)
    append(1, line(1) + line(2))
    assert numbers(tail.read(storage, TRIAL, REPORTS)) == ([1, 2], True)
    read.clear()
    assert numbers(tail.read(storage, TRIAL, REPORTS)) == ([], True)
    assert not read
    torn = line(3) + line(4)[:5]
    append(2, torn)
    assert numbers(tail.read(storage, TRIAL, REPORTS)) == ([3], True)
    assert read == [len(torn)]
    append(2, line(4)[5:])
    assert numbers(tail.read(storage, TRIAL, REPORTS)) == ([4], True)
    close_table(storage, FILES, REPORT_COLUMNS)
    assert numbers(tail.read(storage, TRIAL, REPORTS)) == ([1, 2, 3, 4], False)


def test_a_table_that_went_back_is_read_anew(tmp_path: Path) -> None:
    storage, tail = Storage.open(tmp_path), TableTail()
    storage.write_atomic(FILES.jsonl, line(1) + line(2))
    tail.read(storage, TRIAL, REPORTS)
    storage.write_atomic(FILES.jsonl, line(1))
    assert numbers(tail.read(storage, TRIAL, REPORTS)) == ([1], False)
    storage.write_atomic(TRIAL.attempt_json(2), json.dumps({"adopted": []}))
    storage.write_atomic(TRIAL.table("metrics", 2).jsonl, line(7))
    assert numbers(tail.read(storage, TRIAL, REPORTS)) == ([7], False)
    assert read_table(storage, TRIAL, REPORTS)[0]["report"] == 7
