"""A local directory: temporary name, fsync, rename, `O_APPEND`. Names, too, have to be on the disk."""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import shutil
import threading
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from orchestrator.errors import Fault, StorageUnavailable, StudyError
from orchestrator.record.links import refuse_links_out, refuse_to_leave
from orchestrator.record.storage.backend import Appender, Backend, Stored
from orchestrator.record.storagefaults import free_bytes, unavailable


@dataclass(frozen=True)
class Directory(Backend):
    """Files below `uri`, an absolute path; it may be a link, those below it must not lead out of a study."""

    def where(self, path: str) -> str:
        return "/".join(part for part in (self.uri, path.strip("/")) if part)

    def at(self, path: str) -> Path:
        """Raise `StudyError` when a link leads out of the first directory below the root (the study's)."""
        found = Path(self.where(path))
        parts = PurePosixPath(path).parts
        if parts:
            refuse_to_leave(found, Path(self.uri).resolve() / parts[0])
        return found

    def read(self, path: str, *, written_once: bool = False) -> bytes:  # noqa: ARG002 - always whole
        return self.at(path).read_bytes()

    def write(self, path: str, content: bytes) -> None:
        target = self.at(path)
        make_folder(target.parent)
        temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.tmp")
        try:
            _write_synced(temporary, io.BytesIO(content))
            temporary.replace(target)
            sync_folder(target.parent)
        except BaseException:
            with contextlib.suppress(OSError):  # the first error says what is wrong
                temporary.unlink(missing_ok=True)
            raise

    def look_up(self, path: str) -> Stored | None:
        found = self.at(path)
        try:
            stat = found.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        is_dir = found.is_dir()
        return Stored(found.name, is_dir, 0 if is_dir else stat.st_size)

    def list(self, path: str) -> Sequence[Stored]:
        found = []
        try:
            with os.scandir(self.at(path)) as scan:
                for item in scan:
                    is_dir = item.is_dir()
                    with contextlib.suppress(FileNotFoundError):  # it went while we looked
                        found.append(Stored(item.name, is_dir, 0 if is_dir else item.stat().st_size))
        except (FileNotFoundError, NotADirectoryError):
            return []
        return found

    def delete_file(self, path: str) -> None:
        self.at(path).unlink()

    def delete_dir(self, path: str) -> None:
        shutil.rmtree(self.at(path))

    def put(self, source: Path, path: str) -> int:
        target = self.at(path)
        make_folder(target.parent)
        with source.open("rb") as stream:
            return _write_synced(target, stream)

    def get(self, path: str, target: Path) -> None:
        shutil.copyfile(self.at(path), target)

    def rename(self, old: str, new: str) -> bool:
        self.at(old).rename(self.at(new))
        return True

    def settle(self, folder: str) -> None:
        sync_folder(self.at(folder))

    def appender(self, path: str) -> Appender:
        return FileAppender(self.at(path))

    @contextlib.contextmanager
    def exclusively(self, path: str) -> Iterator[None]:
        lock = self.at(path)
        lock.parent.mkdir(parents=True, exist_ok=True)
        with lock.open("a") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def refuse_links_out(self, path: str) -> None:
        refuse_links_out(self.at(path))

    def probe(self, path: str) -> None:
        """Raise `StudyError`: before a study a directory that cannot be written is a wrong name."""
        made: list[Path] = []
        try:
            root = self.at("")
            for folder in [*reversed(root.parents), root]:
                if not folder.exists():
                    folder.mkdir()
                    made.append(folder)
            (root / path).write_bytes(b"probe")
            (root / path).unlink()
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            hint = "name a directory that can be written"
            raise StudyError(
                Fault(f"storage cannot be written: {reason}", None, None, "storage", self.uri, hint)
            ) from error
        finally:
            for folder in reversed(made):
                with contextlib.suppress(OSError):  # another process has put something there meanwhile
                    folder.rmdir()


class FileAppender(Appender):
    """`O_APPEND`; `sync` is fsync."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._lost: StorageUnavailable | None = None
        make_folder(path.parent)
        self._named = path.exists()  # its name is on the disk
        self._fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def write(self, data: bytes) -> None:
        """Append bytes. Raises `StorageUnavailable`; what a failed write left behind is cut off again."""
        with self._lock:
            before = self._size()
            view = memoryview(data)
            try:
                while view:
                    view = view[os.write(self._fd, view) :]
            except OSError as error:
                with contextlib.suppress(OSError):  # fails this too: a torn tail, which readers skip
                    os.ftruncate(self._fd, before)  # else the next line would be glued to half a line
                raise self._unavailable(error) from error

    def sync(self) -> None:
        """Raise `StorageUnavailable`, and at every later call: the kernel drops what it could not write."""
        with self._lock:
            if self._lost is not None:
                raise self._lost
            try:
                os.fsync(self._fd)
                if not self._named:
                    sync_folder(self._path.parent)
                    self._named = True
            except OSError as error:
                self._lost = self._unavailable(error)
                raise self._lost from error

    def close(self) -> None:
        with self._lock:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1

    def _size(self) -> int:
        try:
            return os.fstat(self._fd).st_size
        except OSError as error:
            raise self._unavailable(error) from error

    def _unavailable(self, error: OSError) -> StorageUnavailable:
        return unavailable(error, "write", str(self._path), free_bytes=free_bytes(self._path))


def make_folder(folder: Path) -> None:
    """Make a directory with its parents; the new names are on the disk when this returns."""
    made: list[Path] = []
    while not folder.is_dir():
        made.append(folder)
        folder = folder.parent
    for new in reversed(made):
        new.mkdir(exist_ok=True)
    for new in reversed(made):
        sync_folder(new.parent)


def sync_folder(folder: Path) -> None:
    """Put the names in a directory on the disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write_synced(target: Path, source: Any) -> int:
    with target.open("wb") as sink:
        shutil.copyfileobj(source, sink, 1 << 20)
        sink.flush()
        os.fsync(sink.fileno())
        return sink.tell()


def directory_of(uri: str) -> Directory:
    """From a path, `~` and `..` as typed, or a `file://` URI."""
    if uri.startswith("file://"):
        return Directory("/" + uri.removeprefix("file://").lstrip("/"))
    return Directory(os.path.abspath(os.path.expanduser(uri)))  # noqa: PTH100, PTH111 - must not resolve links
