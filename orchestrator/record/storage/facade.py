"""One small interface over every place that keeps studies, with relative posix paths.

A storage that does not answer is asked again for a while (`patience`). A fault that will not pass by itself,
or has not passed by then, is a `StorageUnavailable`: path, reason, what is free there, what to do.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
import uuid
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TypeVar
from urllib.parse import parse_qs, urlsplit

from orchestrator.errors import Fault, StudyError
from orchestrator.record.patience import PATIENCE_S, patiently
from orchestrator.record.storage.backend import Appender, Backend, Stored
from orchestrator.record.storage.directory import Directory
from orchestrator.record.storagefaults import free_bytes, unavailable
from orchestrator.study.plugins import Registry

_Lines = list[bytes]  # inside the class, `list` is the method
Answer = TypeVar("Answer")


_DIRECTORY = "orchestrator.record.storage.directory:directory_of"
_OBJECTS = "orchestrator.record.storage.objectstore:object_store"

SCHEMES: Registry[Callable[[str], Backend]] = Registry(
    "storage",
    "orchestrator.storages",
    {"file": _DIRECTORY, **dict.fromkeys(("s3", "gs", "gcs", "hdfs", "viewfs", "abfs", "abfss"), _OBJECTS)},
    callable,
)
"""By the scheme of a URI, what opens it, touching nothing."""


class SegmentAppender(Appender):
    """Collects what is appended; `put` gets it as one new segment, with its number, at every `sync`."""

    def __init__(self, put: Callable[[int, bytes], None], next_number: int) -> None:
        self._put = put
        self._next = next_number
        self._pending: list[bytes] = []
        self._lock = threading.Lock()

    def write(self, data: bytes) -> None:
        """Keep it for the next `sync`."""
        with self._lock:
            self._pending.append(data)

    def sync(self) -> None:
        """Raise `StorageUnavailable`; what was not written then stays for the next `sync`."""
        with self._lock:
            data = b"".join(self._pending)
            if data:
                self._put(self._next, data)
                self._next += 1
            self._pending.clear()

    def close(self) -> None:
        """Put what is left."""
        self.sync()


@dataclass(frozen=True)
class Storage:
    """A storage root. Picklable: workers receive it.

    `patience_s`: how long to ask again when it does not answer.
    """

    backend: Backend
    patience_s: float = PATIENCE_S

    @classmethod
    def open(cls, where: Storage | Backend | str | os.PathLike[str]) -> Storage:
        """From a path, a URI (`file://`, `s3://`, `gs://`, ...) or a back end.

        Touches nothing. Raises `StudyError` when the URI cannot be understood.
        """
        if isinstance(where, Storage):
            return where
        return cls(where if isinstance(where, Backend) else _backend_at(os.fspath(where)))

    # -- where ---------------------------------------------------------------------------------------------

    @property
    def uri(self) -> str:
        """What the user wrote, made absolute when local."""
        return self.backend.uri

    @property
    def is_local(self) -> bool:
        """Whether it is a directory of this machine (which may be shared with others)."""
        return isinstance(self.backend, Directory)

    def path(self, relative: str = "") -> str:
        """Return the path below the root as the file system wants it."""
        parts = PurePosixPath(relative)
        if parts.is_absolute() or ".." in parts.parts:
            raise ValueError(f"not a path below the storage root: {relative!r}")
        return self.backend.where(relative)

    def local_path(self, relative: str = "") -> Path:
        """Return the path on this machine; only for local storage.

        The root itself may be a link, but no link may lead out of the first directory below it (the
        study's): raises `StudyError` then.
        """
        if not isinstance(self.backend, Directory):
            raise ValueError(f"{self.uri} is not a local directory")
        self.path(relative)
        return self.backend.at(relative)

    def followed(self, relative: str) -> str:
        """Return the path below the root with its links followed; none leads out of a study's directory."""
        return self.backend.followed(relative)

    def refuse_links_out(self, relative: str) -> None:
        """Raise `StudyError` with every link below a local directory that leads out of it."""
        self.backend.refuse_links_out(relative)

    # -- small files ---------------------------------------------------------------------------------------

    def read_bytes(self, relative: str, *, written_once: bool = False, start: int = 0) -> bytes:
        """Return the content of a file, as one `write_atomic` has put it there, from byte `start` on.

        `written_once`: it is never replaced, which saves object stores a question; so are the parts of
        growing files.

        Raises `FileNotFoundError`, or `StorageUnavailable` when the storage does not answer.
        """
        read = partial(self.backend.read, relative, written_once=written_once, start=start)
        return self._ask("read", relative, read)

    def read_text(self, relative: str) -> str:
        return self.read_bytes(relative).decode("utf-8")

    def write_atomic(self, relative: str, data: bytes | str, *, lasting: bool = True) -> None:
        """Readers see the old content or the new, never a part; directories are made as needed.

        `lasting`: it survives a crash of the machine, which costs a directory two waits for its disk.
        """
        content = data.encode("utf-8") if isinstance(data, str) else data
        self._ask("write", relative, partial(self.backend.write, relative, content, lasting=lasting))

    def exists(self, relative: str) -> bool:
        return self.look_up(relative) is not None

    def look_up(self, relative: str) -> Stored | None:
        """Return the file or directory at this path, or None."""
        return self._ask("look up", relative, lambda: self.backend.look_up(relative))

    def list(self, relative: str = "") -> Sequence[Stored]:
        """Return what lies directly in a directory, by name; empty when there is no such directory."""
        found = self._ask("list", relative, lambda: self.backend.list(relative))
        return sorted(found, key=lambda item: item.name)

    def sizes(self, relative: str) -> dict[str, int]:
        """Every file below a directory: path relative to it -> bytes. Linked directories are left out."""
        found: dict[str, int] = {}
        for item in self.list(relative):
            if item.is_dir and item.is_link:
                continue
            if item.is_dir:
                below = self.sizes(f"{relative}/{item.name}".lstrip("/"))
                found.update({f"{item.name}/{name}": size for name, size in below.items()})
            else:
                found[item.name] = item.size
        return found

    def delete_file(self, relative: str) -> None:
        """Remove one file; one that is not there is fine."""
        with contextlib.suppress(FileNotFoundError):
            self._ask("delete", relative, lambda: self.backend.delete_file(relative))

    def delete_dir(self, relative: str) -> None:
        """Remove a directory with all that is in it; one that is not there is fine."""
        with contextlib.suppress(FileNotFoundError):
            self._ask("delete", relative, lambda: self.backend.delete_dir(relative))

    def move_dir(self, old: str, new: str) -> None:
        """Rename a directory. On object stores it is copied and then deleted, which takes its time."""
        if self._ask("move", old, lambda: self.backend.rename(old, new)):
            return
        for name in self.sizes(old):
            self._ask("move", f"{old}/{name}", partial(self.backend.copy, f"{old}/{name}", f"{new}/{name}"))
        self.delete_dir(old)

    def exclusively(self, relative: str) -> AbstractContextManager[None]:
        """Nobody else comes in with this path; object stores, without locks, let everybody in."""
        return self.backend.exclusively(relative)

    # -- directories in and out ----------------------------------------------------------------------------

    def copy_in(self, local_dir: Path, relative: str, names: Iterable[str] | None = None) -> dict[str, int]:
        """Copy files below `local_dir` (by default every one) to the storage.

        Returns path relative to it -> bytes written.
        """
        sizes: dict[str, int] = {}
        if names is None:
            found = (path for path in Path(local_dir).rglob("*") if path.is_file())
            names = [path.relative_to(local_dir).as_posix() for path in found]
        for name in sorted(names):
            source, target = Path(local_dir) / name, f"{relative}/{name}"
            sizes[name] = self._ask("write", target, partial(self.backend.put, source, target))
        for folder in {str(PurePosixPath(f"{relative}/{name}").parent) for name in sizes}:
            self._ask("write", folder, partial(self.backend.settle, folder))
        return sizes

    def make_dir(self, relative: str) -> None:
        """Make an empty directory; nothing where directories are no more than names."""
        self._ask("write", relative, lambda: self.backend.make_dir(relative))

    def make_link(self, relative: str, target: str) -> None:
        """Make a symbolic link, `target` relative to its directory; nothing where there are no links."""
        self._ask("write", relative, lambda: self.backend.make_link(relative, target))

    def copy_out(self, relative: str, local_dir: Path, names: Iterable[str] | None = None) -> None:
        """Copy files below a stored directory (by default every one) to `local_dir`, which is made."""
        local_dir = Path(local_dir)
        local_dir.mkdir(parents=True, exist_ok=True)
        for name in self.sizes(relative) if names is None else names:
            target = local_dir / name
            target.parent.mkdir(parents=True, exist_ok=True)
            source = f"{relative}/{name}"
            self._ask("read", source, partial(self.backend.get, source, target))

    # -- what grows ----------------------------------------------------------------------------------------

    def appender(self, relative: str, first: int = 1) -> Appender:
        """Return a file that grows: locally one file, elsewhere (or where some lie already) numbered
        segments.

        `first`: the lowest number for them.
        """
        segments = self.segments(relative)
        if not segments:
            whole = self._ask("open", relative, lambda: self.backend.appender(relative))
            if whole is not None:
                return whole

        def put(number: int, data: bytes) -> None:
            self.write_atomic(f"{relative}.{number:05d}", data)

        return SegmentAppender(put, next_number=max(first, segments[-1][0] + 1 if segments else 1))

    def segments(self, relative: str) -> Sequence[tuple[int, str]]:
        """Return (number, path) of the numbered segments of a growing file, in order."""
        folder, _, name = relative.rpartition("/")
        number = re.compile(re.escape(name) + r"\.(\d{5,})")
        found = [match for entry in self.list(folder) if (match := number.fullmatch(entry.name))]
        prefix = f"{folder}/" if folder else ""
        return sorted((int(match.group(1)), prefix + match.group(0)) for match in found)

    def grown(self, relative: str) -> Sequence[str]:
        """Return the paths that make up a growing file, in order: the file itself, then its segments."""
        whole = [relative] if self.exists(relative) else []
        return [*whole, *(path for _, path in self.segments(relative))]

    def read_grown(self, relative: str) -> bytes:
        """Return what a growing file holds so far; nothing where it is not there."""
        return b"".join(self.read_bytes(path) for path in self.grown(relative))

    def read_end(self, relative: str, most: int) -> tuple[bytes, int]:
        """Return the last `most` bytes of a growing file or a few less, and how many it has."""
        found, whole = b"", 0
        for path in reversed(self.grown(relative)):
            entry = self.look_up(path)
            size = 0 if entry is None else entry.size
            if len(found) < most and size:
                found = self.read_bytes(path, start=max(0, size - most + len(found))) + found
            whole += size
        return found[-most:], whole

    def read_lines(self, relative: str) -> Sequence[bytes]:
        """Return the whole lines of a growing file (without newlines); a torn last line is left out."""
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
        # before a study there is nothing to lose by saying so at once
        replace(self, patience_s=0.0)._ask("write", probe, lambda: self.backend.probe(probe))

    def check_shared(self) -> None:
        """Raise `StudyError` when the processes of workers would not see what is stored here."""
        if not self.backend.shared:
            hint = "name a directory or a service; memory is for run_local and for tests"
            fault = Fault("workers cannot reach this storage", field="storage", value=self.uri, hint=hint)
            raise StudyError(fault)

    def _ask(self, verb: str, relative: str, act: Callable[[], Answer]) -> Answer:
        """Return what `act` answers, which may be done twice: asked again while the storage is silent."""
        path = self.path(relative)
        shown = path if self.is_local else f"{relative or '.'} in {self.uri}"
        try:
            return patiently(act, f"{verb} {shown}", self.patience_s, watched=not self.is_local)
        except FileNotFoundError:
            raise
        except OSError as error:
            free = free_bytes(Path(path)) if self.is_local else None
            waited = float(getattr(error, "waited_s", 0.0))
            raise unavailable(error, verb, shown, free_bytes=free, waited_s=waited) from error


def _backend_at(uri: str) -> Backend:
    """Return the place that a path or a URI names. Raises `StudyError` when it cannot be understood."""
    scheme, separator, _ = uri.partition("://")
    _refuse_secrets(uri)
    name = scheme if separator else "file"
    try:
        if name in SCHEMES:
            return SCHEMES.get(name)(uri)
        from orchestrator.record.storage.fsspecfiles import FsspecFiles

        return FsspecFiles.at(uri)
    except (ValueError, OSError, ImportError, NotImplementedError) as error:
        hint = "a path, file://, s3://, gs:// or another URI that fsspec knows"
        fault = Fault(f"cannot use this storage: {error}", field="storage", value=uri, hint=hint)
        raise StudyError(fault) from None


def _refuse_secrets(uri: str) -> None:
    """Refuse secrets in a URI: a study's storage is written into its record and into messages."""
    parts = urlsplit(uri)
    if parts.password is None and not {"secret_key", "session_token"} & set(parse_qs(parts.query)):
        return
    shown = f"{parts.scheme}://...@{parts.hostname or ''}{parts.path}"
    hint = "put them into the environment or the profile of the cloud's command line"
    fault = Fault("credentials do not belong in the URI", field="storage", value=shown, hint=hint)
    raise StudyError(fault)
