from __future__ import annotations

import io
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from pyarrow.fs import FSSpecHandler, PyFileSystem

from orchestrator.record.storage import Storage
from orchestrator.record.storage.objectstore import ObjectStore


class _Upload(io.BytesIO):
    def __init__(self, done: Callable[[bytes], None]) -> None:
        super().__init__()
        self._done = done

    def close(self) -> None:
        if not self.closed:
            self._done(self.getvalue())
        super().close()


class Objects(MemoryFileSystem):
    """Has neither renames nor appends as far as we use it; an object is there when its upload is complete."""

    cachable = False

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        if "w" in mode and "data" not in options:
            return _Upload(partial(self.pipe_file, self._strip_protocol(path)))
        return super()._open(path, mode, **options)


def object_store() -> Storage:
    """Storage over a file system that is none of the local ones."""
    bucket = f"bucket-{uuid.uuid4().hex}"
    return Storage.open(ObjectStore(f"objects://{bucket}", PyFileSystem(FSSpecHandler(Objects())), bucket))


@pytest.fixture(params=["local", "object"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    return Storage.open(tmp_path / "store") if request.param == "local" else object_store()


@pytest.fixture
def local(tmp_path: Path) -> Storage:
    return Storage.open(tmp_path / "store")
