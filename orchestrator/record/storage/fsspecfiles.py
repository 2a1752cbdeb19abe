"""Every other URI that `fsspec` knows: SFTP, WebDAV, ..., and `memory://`, which lives in one process."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.record.storage.backend import Backend, Stored, refuse_long


@dataclass(frozen=True)
class FsspecFiles(Backend):
    """Files below `root` in `files`, an `fsspec` file system that can move a file in one step."""

    files: Any = None
    root: str = ""

    @classmethod
    def at(cls, uri: str) -> FsspecFiles:
        """Raise `ValueError` for a scheme that nobody knows, `ImportError` where its package is missing."""
        from fsspec.core import url_to_fs
        from pyarrow.fs import FSSpecHandler, PyFileSystem

        files, root = url_to_fs(uri, use_listings_cache=False)
        return cls(uri, PyFileSystem(FSSpecHandler(files)), files, root.rstrip("/"))

    @property
    def shared(self) -> bool:  # type: ignore[override]
        """False for files in memory."""
        return not self.uri.startswith("memory:")

    def where(self, path: str) -> str:
        return f"{self.root}/{path.strip('/')}".rstrip("/")

    def read(self, path: str, *, written_once: bool = False, start: int = 0) -> bytes:  # noqa: ARG002 - as it is
        refuse_long(_stored(self._do("info", self.where(path))).size, f"{self.uri}/{path}")
        return bytes(self._do("cat_file", self.where(path), start=start or None))

    def write(self, path: str, content: bytes, *, lasting: bool = True) -> None:  # noqa: ARG002 - it always is
        target = self.where(path)
        folder, _, name = target.rpartition("/")
        temporary = f"{folder}/.{name}.{uuid.uuid4().hex[:8]}.tmp"
        self._do("makedirs", folder, exist_ok=True)
        try:
            self._do("pipe_file", temporary, content)
            self._do("mv", temporary, target)
        except OSError:
            with suppress(OSError):  # the first error says what is wrong
                self._do("rm_file", temporary)
            raise

    def look_up(self, path: str) -> Stored | None:
        try:
            return _stored(self._do("info", self.where(path)))
        except FileNotFoundError:
            return None

    def list(self, path: str) -> Sequence[Stored]:
        folder = self.where(path)
        try:
            found = self._do("ls", folder, detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return [_stored(item) for item in found if item["name"].strip("/") != folder.strip("/")]

    def delete_file(self, path: str) -> None:
        self._do("rm_file", self.where(path))

    def delete_dir(self, path: str) -> None:
        self._do("rm", self.where(path), recursive=True)

    def put(self, source: Path, path: str) -> int:
        target = self.where(path)
        self._do("makedirs", target.rpartition("/")[0], exist_ok=True)
        self._do("put_file", str(source), target)
        return source.stat().st_size

    def get(self, path: str, target: Path) -> None:
        self._do("get_file", self.where(path), str(target))

    def _do(self, what: str, *args: Any, **options: Any) -> Any:
        """Call a method of the file system; the errors of its client become an `OSError` with their words."""
        try:
            return getattr(self.files, what)(*args, **options)
        except OSError:
            raise
        except Exception as error:
            raise OSError(f"{type(error).__name__}: {error}") from error


def _stored(info: Any) -> Stored:
    is_dir = info["type"] == "directory"
    return Stored(
        info["name"].rstrip("/").rpartition("/")[2], is_dir, 0 if is_dir else int(info["size"] or 0)
    )
