"""What is wrong with a storage, told from the error that it gave: one pure function, used everywhere.

Local file systems say it by `errno`; object stores (pyarrow's S3 and GCS clients) only by their texts.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from rich.filesize import decimal

from orchestrator.errors import StorageUnavailable


class StorageFaultKind(StrEnum):
    """What is wrong. Only an unavailable storage may come back by itself."""

    UNAVAILABLE = "unavailable"
    DISK_FULL = "disk full"
    READ_ONLY = "read-only"
    PERMISSION = "permission"
    MISSING = "missing"
    IO_ERROR = "I/O error"

    @property
    def advice(self) -> str:
        """What the user can do about it."""
        return _ADVICE[self]


@dataclass(frozen=True)
class StorageFault:
    """`message`: the words of the error itself, without the path."""

    kind: StorageFaultKind
    message: str


_AGAIN = "then run the same command again: what was complete is kept, the rest goes on from there"
_ADVICE = {
    StorageFaultKind.UNAVAILABLE: f"see that the storage can be reached from this machine, {_AGAIN}",
    StorageFaultKind.DISK_FULL: f"make room there (or raise the quota), {_AGAIN}",
    StorageFaultKind.READ_ONLY: f"mount it for writing again, {_AGAIN}",
    StorageFaultKind.PERMISSION: f"give this user or these credentials the right to write there, {_AGAIN}",
    StorageFaultKind.MISSING: f"make the bucket, or name another one under `storage`, {_AGAIN}",
    StorageFaultKind.IO_ERROR: f"look at the disk (dmesg, file system check) or move the study, {_AGAIN}",
}
_BY_ERRNO = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), StorageFaultKind.DISK_FULL),
    errno.EROFS: StorageFaultKind.READ_ONLY,
    **dict.fromkeys((errno.EACCES, errno.EPERM), StorageFaultKind.PERMISSION),
    **dict.fromkeys((errno.EIO, errno.EUCLEAN, errno.EBADMSG), StorageFaultKind.IO_ERROR),
    **dict.fromkeys(
        (
            errno.ESTALE,
            errno.ETIMEDOUT,
            errno.EHOSTDOWN,
            errno.EHOSTUNREACH,
            errno.ENETDOWN,
            errno.ENETUNREACH,
            errno.ECONNREFUSED,
            errno.ECONNRESET,
            errno.ECONNABORTED,
            errno.EPIPE,
            errno.ENOTCONN,
            errno.EAGAIN,
            errno.EBUSY,
            errno.ENXIO,
            errno.EREMOTEIO,
        ),
        StorageFaultKind.UNAVAILABLE,
    ),
}
# Words of pyarrow's clients, which give no errno. The first kind with a match counts.
_BY_WORDS = {
    StorageFaultKind.DISK_FULL: "no space left|quota|insufficient storage",
    StorageFaultKind.READ_ONLY: "read-only file system",
    StorageFaultKind.MISSING: "no_such_bucket|nosuchbucket|bucket does not exist|invalid ?bucket",
    StorageFaultKind.PERMISSION: "access ?_?denied|permission[ _]denied|forbidden|response code: 40[13]"
    "|invalid_?access_?key|signature_?does_?not_?match|invalid_signature|unauthenticated|expired ?token",
    StorageFaultKind.UNAVAILABLE: "aws error|curlcode|response code: 5|slow_?down|timed? ?out|connect"
    "|unavailable|resource_exhausted|google cloud returned|retry policy|incomplete ?body|content-length",
}
_TORCH_WRITER = ("pytorchstreamwriter failed writing file", "file write failed")


def classify(error: BaseException) -> StorageFault | None:
    """Return the fault that an error stands for, or None when it is none of a storage.

    A file that is not there, or one where a directory is wanted, is a fault of whoever asked. Explicit causes
    of the error are looked at too: libraries wrap what the file system said.
    """
    for link in _chain(error):
        if isinstance(link, StorageUnavailable):
            return StorageFault(StorageFaultKind(link.kind or StorageFaultKind.UNAVAILABLE), str(link))
        if isinstance(link, OSError):
            kind = _kind_of(link)
            if kind is not None:
                return StorageFault(kind, link.strerror or str(link))
        if isinstance(link, RuntimeError) and any(words in str(link).lower() for words in _TORCH_WRITER):
            behind = link.__context__
            kind = _kind_of(behind) if isinstance(behind, OSError) else None
            return StorageFault(kind or StorageFaultKind.IO_ERROR, str(link).splitlines()[0])
    return None


def unavailable(
    error: OSError, verb: str, path: str, *, free_bytes: int | None = None, waited_s: float = 0.0
) -> StorageUnavailable:
    """Return the error to raise: what could not be done, where, why, and what to do next."""
    fault = classify(error)
    free = "" if free_bytes is None else f"; {decimal(free_bytes)} free there"
    waited = f" (tried again for {waited_s:.0f} s)" if waited_s >= 1 else ""
    if fault is None:
        return StorageUnavailable(f"cannot {verb} {path}: {error}{free}{waited}")
    text = f"cannot {verb} {path}: {fault.message}{free}{waited}; {fault.kind.advice}"
    return StorageUnavailable(text, fault.kind)


def free_bytes(path: Path) -> int | None:
    """Return what users may still write on a path's file system (it need not exist); None: unknown."""
    for folder in (path, *path.parents):
        with contextlib.suppress(OSError, ValueError):
            found = os.statvfs(folder)
            return found.f_bavail * found.f_frsize
    return None


def _kind_of(error: OSError) -> StorageFaultKind | None:
    if isinstance(error, (FileNotFoundError, NotADirectoryError, IsADirectoryError, FileExistsError)):
        return None
    if error.errno in _BY_ERRNO:
        return _BY_ERRNO[error.errno]
    words = str(error).lower()
    return next((kind for kind, pattern in _BY_WORDS.items() if re.search(pattern, words)), None)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__
