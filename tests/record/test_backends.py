"""Every back end keeps the promises that ship with the package."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.errors import StudyError, UnreadableRecord
from orchestrator.record.storage import Backend, Storage, backend
from orchestrator.record.storage.conformance import PROMISES


@pytest.mark.slow
@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
def test_promises(storage: Storage, promise: Callable[[Backend], None]) -> None:
    promise(storage.backend)


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
@pytest.mark.parametrize("scheme", ["memory", "local"])
def test_promises_by_fsspec(scheme: str, promise: Callable[[Backend], None], tmp_path: Path) -> None:
    where = f"/{uuid.uuid4().hex}" if scheme == "memory" else str(tmp_path / "store")
    promise(Storage.open(f"{scheme}://{where}").backend)


def test_what_is_too_long_to_be_a_record_is_not_read(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "MOST_BYTES", 4)
    for place in (storage, Storage.open(f"memory:///{uuid.uuid4().hex}")):
        place.write_atomic("study/plan.json", "four")
        assert place.read_text("study/plan.json") == "four"
        place.write_atomic("study/plan.json", "fives")
        with pytest.raises(UnreadableRecord, match="is longer than") as caught:
            place.read_bytes("study/plan.json")
        assert caught.value.faults[0].file == f"{place.uri}/study/plan.json"


def test_files_in_memory_are_for_one_process() -> None:
    storage = Storage.open("memory://runs")
    with pytest.raises(StudyError, match="workers cannot reach this storage"):
        storage.check_shared()
    storage.write_atomic("x", "1")
    assert Storage.open("memory://runs").read_text("x") == "1"
    assert storage.path("a/b") == "/runs/a/b"
    storage.delete_file("x")


@pytest.mark.parametrize("uri", ["carrier-pigeon://coop/7", "s3a+dvc://x", "sftp2://host"])
def test_unknown_schemes_are_refused_in_words(uri: str) -> None:
    with pytest.raises(StudyError, match="cannot use this storage") as caught:
        Storage.open(uri)
    assert caught.value.faults[0].value == uri
