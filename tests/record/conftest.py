from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from orchestrator.record.storage import Storage


def object_store() -> Storage:
    """Storage over a file system that has neither renames nor appends as far as we use it."""
    from fsspec.implementations.memory import MemoryFileSystem
    from pyarrow.fs import FSSpecHandler, PyFileSystem

    return Storage.open(PyFileSystem(FSSpecHandler(MemoryFileSystem())), root=f"bucket-{uuid.uuid4().hex}")


@pytest.fixture(params=["local", "object"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    return Storage.open(tmp_path / "store") if request.param == "local" else object_store()


@pytest.fixture
def local(tmp_path: Path) -> Storage:
    return Storage.open(tmp_path / "store")
