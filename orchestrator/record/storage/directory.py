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
from stat import S_ISDIR, S_ISREG
from typing import Any

from orchestrator.errors import Fault, StorageUnavailable, StudyError, UnreadableRecord
from orchestrator.record.links import has_link, refuse_links_out, refuse_to_leave
from orchestrator.record.storage.backend import Appender, Backend, Stored, refuse_long
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
        if has_link(self.uri, parts):
            refuse_to_leave(found, f"{os.path.realpath(self.uri)}/{parts[0]}")
        return found

    def read(self, path: str, *, written_once: bool = False, start: int = 0) -> bytes:  # noqa: ARG002 - always whole
        found = self._regular(path)
        # a pipe that took its place meanwhile would keep us waiting
        with os.fdopen(os.open(found, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
            stream.seek(start)
            return stream.read()

    def _regular(self, path: str) -> Path:
        """Return where a file lies. Raises `UnreadableRecord` when it is none, or too long to be ours."""
        found = self.at(path)
        stat = found.stat()
        if not S_ISREG(stat.st_mode):
            what = "is a directory" if S_ISDIR(stat.st_mode) else "is no regular file"
            raise UnreadableRecord(Fault(f"{what}: it cannot be read", file=str(found)))
        refuse_long(stat.st_size, str(found))
        return found

    def write(self, path: str, content: bytes, *, lasting: bool = True) -> None:
        target = self.at(path)
        make_folder(target.parent)
        temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.tmp")
        try:
            if lasting:
                _write_synced(temporary, io.BytesIO(content))
            else:
                temporary.write_bytes(content)
            temporary.replace(target)
            if lasting:
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
                    try:
                        is_dir = item.is_dir()
                        size = 0 if is_dir else item.stat().st_size
                        found.append(Stored(item.name, is_dir, size, item.is_symlink()))
                    except OSError as error:
                        # it went while we looked, or is a link to nowhere
                        if not isinstance(error, FileNotFoundError) and not item.is_symlink():
                            raise
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
        found = self.at(path)
        if not found.is_file():
            found = self._regular(path)
        shutil.copyfile(found, target)

    def rename(self, old: str, new: str) -> bool:
        self.at(old).rename(self.at(new))
        return True

    def settle(self, folder: str) -> None:
        sync_folder(self.at(folder))

    def make_dir(self, path: str) -> None:
        make_folder(self.at(path))

    def make_link(self, path: str, target: str) -> None:
        link = self.at(str(PurePosixPath(path).parent)) / PurePosixPath(path).name
        make_folder(link.parent)
        with contextlib.suppress(FileNotFoundError):
            link.unlink()
        link.symlink_to(target)
        sync_folder(link.parent)

    def appender(self, path: str) -> Appender:
        return FileAppender(self.at(path))

    @contextlib.contextmanager
    def exclusively(self, path: str) -> Iterator[None]:
        lock = self.at(path)
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise unavailable(error, "lock", str(lock)) from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def followed(self, path: str) -> str:
        return self.at(path).resolve().relative_to(Path(self.uri).resolve()).as_posix()

    def refuse_links_out(self, path: str) -> None:
        try:
            found = self.at(path)
        except UnreadableRecord as error:
            raise StudyError(error.faults) from None
        refuse_links_out(found)

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
