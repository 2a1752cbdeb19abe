"""What a place that keeps studies has to do: six operations; the others have slower defaults.

Paths are relative to the root, with `/`, never with `..`; an empty one is the root. `Storage` calls an
operation again when its error says that the place does not answer (`record.storagefaults` tells which do), so
each may be done twice.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.errors import Fault, UnreadableRecord

MOST_BYTES = 256 << 20
"""Of a file that is read whole."""


def refuse_long(size: int, file: str) -> None:
    """Raise `UnreadableRecord` for a file that is too long to be one of ours."""
    if size > MOST_BYTES:
        raise UnreadableRecord(Fault(f"is longer than {MOST_BYTES >> 20} MiB", file=file))


class Appender(ABC):
    """What is appended is readable after `sync`; half an append is never left in the middle of a file.

    Raises `StorageUnavailable`.
    """

    def append(self, lines: Iterable[bytes]) -> None:
        """Append lines, given without their newlines."""
        self.write(b"".join(line + b"\n" for line in lines))

    @abstractmethod
    def write(self, data: bytes) -> None:
        """Append bytes, all of them or none."""

    @abstractmethod
    def sync(self) -> None:
        """Return once everything so far would survive a crash."""

    @abstractmethod
    def close(self) -> None:
        """Write what is left and let go."""


@dataclass(frozen=True)
class Stored:
    """One thing in a directory; `size` in bytes (0 for a directory)."""

    name: str
    is_dir: bool
    size: int
    is_link: bool = False


@dataclass(frozen=True)
class Backend(ABC):
    """A place, named by `uri`. Picklable: workers receive it.

    Raises `FileNotFoundError` for what is not there, another `OSError` when the place fails.
    """

    uri: str
    shared = True
    """Whether other processes that receive it see the same files."""
    arrow: Any = None
    """The `pyarrow.fs.FileSystem` that Ray opens it with; None for a directory."""

    # -- to be written -------------------------------------------------------------------------------------

    @abstractmethod
    def read(self, path: str, *, written_once: bool = False, start: int = 0) -> bytes:
        """Return the content of a file, as one `write` has put it, from byte `start` on.

        `written_once`: there was only one `write`. Asks for the size first: see `refuse_long`.
        """

    @abstractmethod
    def write(self, path: str, content: bytes, *, lasting: bool = True) -> None:
        """Put a file: readers see the old content or the new. Makes directories as needed.

        `lasting`: it survives a crash of the machine, too.
        """

    @abstractmethod
    def look_up(self, path: str) -> Stored | None:
        """Return the file or directory at this path, or None."""

    @abstractmethod
    def list(self, path: str) -> Iterable[Stored]:
        """Return what lies directly in a directory; empty when there is no such directory."""

    @abstractmethod
    def delete_file(self, path: str) -> None:
        """Remove one file."""

    @abstractmethod
    def delete_dir(self, path: str) -> None:
        """Remove a directory with all that is in it."""

    # -- what some places do better ------------------------------------------------------------------------

    def where(self, path: str) -> str:
        """Return the path as programs that open the place themselves want it."""
        return "/".join(part for part in (self.uri.rstrip("/"), path.strip("/")) if part)

    def put(self, source: Path, path: str) -> int:
        """Copy a local file to the place, not necessarily in one step; returns its bytes."""
        content = source.read_bytes()
        self.write(path, content)
        return len(content)

    def get(self, path: str, target: Path) -> None:
        """Copy a file to a local one."""
        target.write_bytes(self.read(path))

    def copy(self, old: str, new: str) -> None:
        """Copy a file within the place."""
        self.write(new, self.read(old))

    def rename(self, old: str, new: str) -> bool:  # noqa: ARG002 - for those that can
        """Rename a directory in one step; False where that cannot be done."""
        return False

    def settle(self, folder: str) -> None:  # noqa: B027 - nothing to do where a `put` lasts by itself
        """Make the names of what was `put` into a directory last."""

    def make_dir(self, path: str) -> None:  # noqa: B027 - where a directory is no more than names
        """Make an empty directory, where there are such."""

    def make_link(self, path: str, target: str) -> None:  # noqa: B027 - where there are no links
        """Make a symbolic link, where there are such; `target` is relative to its directory."""

    def appender(self, path: str) -> Appender | None:  # noqa: ARG002 - for those that can
        """Return a file that grows, or None where files cannot: numbered segments are written there."""
        return None

    def exclusively(self, path: str) -> AbstractContextManager[None]:  # noqa: ARG002 - for those that can
        """Alone among all processes that ask for the same path; at once where there are no locks."""
        return nullcontext()

    def followed(self, path: str) -> str:
        """Return the path with its symbolic links followed; as it is where there are none."""
        return path

    def refuse_links_out(self, path: str) -> None:  # noqa: B027 - nothing to do where there are no links
        """Raise `StudyError` with every symbolic link below a directory that leads out of it."""

    def probe(self, path: str) -> None:
        """Write and remove this file; leaves nothing else behind, directories included."""
        self.write(path, b"probe")
        self.delete_file(path)
