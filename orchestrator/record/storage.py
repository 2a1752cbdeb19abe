"""One small interface over a local path or any pyarrow file system, with relative posix paths.

Locally: temporary name, fsync, rename, `O_APPEND`. Object stores can neither append nor rename: a put is
atomic there, and what grows is written in numbered segments `<path>.00001`, `<path>.00002`, ...

A storage that does not answer is asked again for a while (`patience`). A fault that will not pass by itself,
or has not passed by then, is a `StorageUnavailable`: path, reason, what is free there, what to do.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import shutil
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from orchestrator.errors import Fault, StudyError
from orchestrator.record.appender import Appender, LocalAppender, SegmentAppender, free_bytes, segments_of
from orchestrator.record.folders import make_folder, sync_folder
from orchestrator.record.links import refuse_links_out, refuse_to_leave
from orchestrator.record.objectstores import open_uri
from orchestrator.record.patience import PATIENCE_S, patiently
from orchestrator.record.storagefaults import unavailable

_Lines = list[bytes]  # inside the class, `list` is the method
Answer = TypeVar("Answer")
REREADS = 100
"""How often an object that is being replaced is read again; two in a row are rare."""
_STORES_WITHOUT_DIRECTORIES = ("s3", "gcs", "abfs")


@dataclass(frozen=True)
class Entry:
    """One thing in a directory; `size` in bytes (0 for a directory)."""

    name: str
    is_dir: bool
    size: int


@dataclass(frozen=True)
class Storage:
    """A storage root. Picklable: workers receive it.

    `uri` is what the user wrote (made absolute when local), `fs` is None for a local directory; `patience_s`:
    how long to ask again when it does not answer.
    """

    uri: str
    root: str
    fs: Any = None
    patience_s: float = PATIENCE_S

    @classmethod
    def open(cls, where: Any, *, root: str = "") -> Storage:
        """From a path, a URI (`file://`, `s3://`, `gs://`, ...) or a `pyarrow.fs.FileSystem` (with `root`).

        Touches nothing. Raises `StudyError` when the URI cannot be understood.
        """
        if isinstance(where, Storage):
            return where
        if not isinstance(where, (str, os.PathLike)):
            return cls._over(where, root)
        text = os.fspath(where)
        if "://" not in text:
            path = os.path.abspath(os.path.expanduser(text))  # noqa: PTH100, PTH111 - "~" and ".." as typed
            return cls(uri=path, root=path)
        if text.startswith("file://"):
            path = "/" + text.removeprefix("file://").lstrip("/")
            return cls(uri=path, root=path)
        filesystem, path = open_uri(text)
        return cls(uri=text, root=path.rstrip("/"), fs=filesystem)

    @classmethod
    def _over(cls, filesystem: Any, root: str) -> Storage:
        from pyarrow import fs

        if isinstance(filesystem, fs.LocalFileSystem):
            path = os.path.abspath(root)  # noqa: PTH100 - must not resolve links
            return cls(uri=path, root=path)
        if isinstance(filesystem, fs.SubTreeFileSystem) and isinstance(
            filesystem.base_fs, fs.LocalFileSystem
        ):
            path = str(Path(filesystem.base_path) / root)
            return cls(uri=path, root=path)
        return cls(uri=f"{filesystem.type_name}:{root}", root=root.strip("/"), fs=filesystem)

    # -- where ---------------------------------------------------------------------------------------------

    @property
    def is_local(self) -> bool:
        return self.fs is None

    def path(self, relative: str = "") -> str:
        """The path below the root as the file system wants it."""
        parts = PurePosixPath(relative)
        if parts.is_absolute() or ".." in parts.parts:
            raise ValueError(f"not a path below the storage root: {relative!r}")
        return "/".join(part for part in (self.root, relative.strip("/")) if part)

    def local_path(self, relative: str = "") -> Path:
        """The path on this machine; only for local storage.

        The root itself may be a link, but no link may lead out of the first directory below it (the
        study's): raises `StudyError` then.
        """
        if not self.is_local:
            raise ValueError(f"{self.uri} is not a local directory")
        path = Path(self.path(relative))
        parts = PurePosixPath(relative).parts
        if parts:
            refuse_to_leave(path, Path(self.root).resolve() / parts[0])
        return path

    def refuse_links_out(self, relative: str) -> None:
        """Raises `StudyError` with every link below a local directory that leads out of it."""
        if self.is_local:
            refuse_links_out(self.local_path(relative))

    # -- small files ---------------------------------------------------------------------------------------

    def read_bytes(self, relative: str, *, written_once: bool = False) -> bytes:
        """The content of a file, as one `write_atomic` has put it there.

        An object store is asked for an object's size, then for so many bytes: of one that is replaced in
        between, the beginning would come. So its size is looked at once more; parts of growing files, of
        which there are many and which are never replaced, are `written_once`.

        Raises `FileNotFoundError`, or `StorageUnavailable` when the storage does not answer.
        """

        def read() -> bytes:
            if self.is_local:
                return self.local_path(relative).read_bytes()
            for _ in range(REREADS):
                with self._source(relative) as stream:
                    content = bytes(stream.read())
                if written_once or self.fs.get_file_info(self.path(relative)).size in (len(content), None):
                    return content
            raise OSError(errno.EAGAIN, "it is replaced faster than it can be read")

        return self._ask("read", relative, read)

    def read_text(self, relative: str) -> str:
        return self.read_bytes(relative).decode("utf-8")

    def write_atomic(self, relative: str, data: bytes | str) -> None:
        """Readers see the old content or the new, never a part; directories are made as needed."""
        content = data.encode("utf-8") if isinstance(data, str) else data

        def write() -> None:
            if self.is_local:
                _replace(self.local_path(relative), content)
                return
            self._remote_parent(relative)
            with self._sink(relative) as stream:
                stream.write(content)

        self._ask("write", relative, write)

    def exists(self, relative: str) -> bool:
        return self.entry(relative) is not None

    def entry(self, relative: str) -> Entry | None:
        """The file or directory at this path, or None."""

        def look_up() -> Entry | None:
            if self.is_local:
                return _look_up_local(self.local_path(relative))
            return _entry(self.fs.get_file_info(self.path(relative)))

        return self._ask("look up", relative, look_up)

    def list(self, relative: str = "") -> Sequence[Entry]:
        """What lies directly in a directory, by name; empty when there is no such directory."""

        def look() -> Sequence[Entry]:
            if self.is_local:
                return _list_local(self.local_path(relative))
            from pyarrow import fs

            selector = fs.FileSelector(self.path(relative), allow_not_found=True)
            found = (_entry(info) for info in self.fs.get_file_info(selector))
            return sorted((entry for entry in found if entry and entry.name), key=lambda entry: entry.name)

        return self._ask("list", relative, look)

    def sizes(self, relative: str) -> dict[str, int]:
        """Every file below a directory: path relative to it -> bytes."""
        found: dict[str, int] = {}
        for entry in self.list(relative):
            if entry.is_dir:
                below = self.sizes(f"{relative}/{entry.name}".lstrip("/"))
                found.update({f"{entry.name}/{name}": size for name, size in below.items()})
            else:
                found[entry.name] = entry.size
        return found

    def make_dir(self, relative: str) -> None:

        def make() -> None:
            if self.is_local:
                self.local_path(relative).mkdir(parents=True, exist_ok=True)
            else:
                self.fs.create_dir(self.path(relative), recursive=True)

        self._ask("make", relative, make)

    def delete_file(self, relative: str) -> None:
        """Remove one file; one that is not there is fine."""

        def delete() -> None:
            if self.is_local:
                self.local_path(relative).unlink()
            else:
                self.fs.delete_file(self.path(relative))

        with contextlib.suppress(FileNotFoundError):
            self._ask("delete", relative, delete)

    def delete_dir(self, relative: str) -> None:
        """Remove a directory with all that is in it; one that is not there is fine."""

        def delete() -> None:
            if self.is_local:
                shutil.rmtree(self.local_path(relative))
            else:
                self.fs.delete_dir(self.path(relative))

        with contextlib.suppress(FileNotFoundError):
            self._ask("delete", relative, delete)

    def move_dir(self, old: str, new: str) -> None:
        """Rename a directory. On object stores it is copied and then deleted, which takes its time."""
        if self.is_local:
            self._ask("move", old, lambda: self.local_path(old).rename(self.local_path(new)))
            return
        for name in self.sizes(old):
            self._ask("move", f"{old}/{name}", partial(self._copy, f"{old}/{name}", f"{new}/{name}"))
        self.delete_dir(old)

    def _source(self, relative: str) -> Any:
        # left alone, pyarrow unpacks what is called *.gz, and packs it on the way in
        return self.fs.open_input_stream(self.path(relative), compression=None)

    def _sink(self, relative: str) -> Any:
        return self.fs.open_output_stream(self.path(relative), compression=None)

    def _copy(self, old: str, new: str) -> None:
        self._remote_parent(new)
        with self._source(old) as source, self._sink(new) as sink:
            shutil.copyfileobj(source, sink, 1 << 20)

    # -- directories in and out ----------------------------------------------------------------------------

    def copy_in(self, local_dir: Path, relative: str) -> dict[str, int]:
        """Copy every file below `local_dir` to the storage; returns path relative to it -> bytes written."""
        local_dir = Path(local_dir)
        sizes: dict[str, int] = {}
        for source in sorted(local_dir.rglob("*")):
            if source.is_file():
                name = source.relative_to(local_dir).as_posix()
                sizes[name] = self._put(source, f"{relative}/{name}")
        if self.is_local:
            for folder in {str(PurePosixPath(f"{relative}/{name}").parent) for name in sizes}:
                self._ask("write", folder, partial(sync_folder, self.local_path(folder)))
        return sizes

    def copy_out(self, relative: str, local_dir: Path) -> None:
        """Copy every file below a stored directory to `local_dir`, which is made."""
        local_dir = Path(local_dir)
        local_dir.mkdir(parents=True, exist_ok=True)
        for name in self.sizes(relative):
            target = local_dir / name
            target.parent.mkdir(parents=True, exist_ok=True)
            self._ask("read", f"{relative}/{name}", partial(self._get, f"{relative}/{name}", target))

    def _get(self, relative: str, target: Path) -> None:
        if self.is_local:
            shutil.copyfile(self.local_path(relative), target)
            return
        with self._source(relative) as source, target.open("wb") as sink:
            shutil.copyfileobj(source, sink, 1 << 20)

    def _put(self, source: Path, relative: str) -> int:
        def put() -> int:
            with source.open("rb") as stream:
                if self.is_local:
                    target = self.local_path(relative)
                    make_folder(target.parent)
                    return _write_synced(target, stream)
                self._remote_parent(relative)
                with self._sink(relative) as sink:
                    shutil.copyfileobj(stream, sink, 1 << 20)
                return stream.tell()

        return self._ask("write", relative, put)

    # -- what grows ----------------------------------------------------------------------------------------

    def appender(self, relative: str, first: int = 1) -> Appender:
        """A file that grows: locally one file, elsewhere (or where some lie already) numbered segments.

        `first`: the lowest number for them.
        """
        segments = self.segments(relative)
        if self.is_local and not segments:
            return self._ask("open", relative, lambda: LocalAppender(self.local_path(relative)))
        return SegmentAppender(self, relative, next_number=max(first, segments[-1][0] + 1 if segments else 1))

    def segments(self, relative: str) -> Sequence[tuple[int, str]]:
        """(number, path) of the numbered segments of a growing file, in order."""
        folder, _, name = relative.rpartition("/")
        prefix = f"{folder}/" if folder else ""
        return [
            (number, prefix + leaf) for number, leaf in segments_of(name, [e.name for e in self.list(folder)])
        ]

    def grown(self, relative: str) -> Sequence[str]:
        """The paths that make up a growing file, in order: the file itself, then its segments."""
        whole = [relative] if self.exists(relative) else []
        return [*whole, *(path for _, path in self.segments(relative))]

    def read_lines(self, relative: str) -> Sequence[bytes]:
        """The whole lines of a growing file (without newlines); a torn last line is left out."""
        lines: _Lines = []
        for path in self.grown(relative):
            lines.extend(self.read_bytes(path, written_once=True).split(b"\n")[:-1])
        return lines

    def delete_grown(self, relative: str) -> None:
        """Remove a growing file with its segments."""
        for path in self.grown(relative):
            self.delete_file(path)

    # -- can it be used ------------------------------------------------------------------------------------

    def check_writable(self) -> None:
        """Write and remove a probe; leaves nothing behind.

        Raises `StudyError` when a local path, `StorageUnavailable` when a remote one cannot be written.
        """
        probe = f".probe-{uuid.uuid4().hex}"
        if not self.is_local:
            # before a study there is nothing to lose by saying so at once
            now = replace(self, patience_s=0.0)
            now.write_atomic(probe, b"probe")
            now.delete_file(probe)
            return
        made: list[Path] = []
        try:
            root = self.local_path()
            for folder in [*reversed(root.parents), root]:
                if not folder.exists():
                    folder.mkdir()
                    made.append(folder)
            path = root / probe
            path.write_bytes(b"probe")
            path.unlink()
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

    def _remote_parent(self, relative: str) -> None:
        if self.fs.type_name not in _STORES_WITHOUT_DIRECTORIES:
            self.fs.create_dir(self.path(relative).rpartition("/")[0] or "/", recursive=True)

    def _ask(self, verb: str, relative: str, act: Callable[[], Answer]) -> Answer:
        """What `act`, which may be done twice, answers; asked again while the storage does not answer."""
        path = self.path(relative) if self.is_local else f"{relative or '.'} in {self.uri}"
        try:
            return patiently(act, f"{verb} {path}", self.patience_s, watched=not self.is_local)
        except FileNotFoundError:
            raise
        except OSError as error:
            free = free_bytes(Path(path)) if self.is_local else None
            waited = float(getattr(error, "waited_s", 0.0))
            raise unavailable(error, verb, path, free_bytes=free, waited_s=waited) from error


def _replace(target: Path, content: bytes) -> None:
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


def _write_synced(target: Path, source: Any) -> int:
    with target.open("wb") as sink:
        shutil.copyfileobj(source, sink, 1 << 20)
        sink.flush()
        os.fsync(sink.fileno())
        return sink.tell()


def _look_up_local(path: Path) -> Entry | None:
    try:
        stat = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    is_dir = path.is_dir()
    return Entry(path.name, is_dir, 0 if is_dir else stat.st_size)


def _list_local(folder: Path) -> list[Entry]:
    found: list[Entry] = []
    try:
        with os.scandir(folder) as scan:
            for item in scan:
                is_dir = item.is_dir()
                try:
                    found.append(Entry(item.name, is_dir, 0 if is_dir else item.stat().st_size))
                except FileNotFoundError:  # it went while we looked
                    continue
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(found, key=lambda entry: entry.name)


def _entry(info: Any) -> Entry | None:
    from pyarrow import fs

    if info.type == fs.FileType.NotFound:
        return None
    is_dir = info.type == fs.FileType.Directory
    return Entry(info.base_name, is_dir, 0 if is_dir else int(info.size or 0))
