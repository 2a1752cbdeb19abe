"""What the code of a trial opens to write, and where: an audit hook of the interpreter, one for a process.

Links of the trial's working directory that lead to the project's files are taken away before they are
written through (`_overlay.own`); what lies elsewhere is remembered by name. What is not seen: native code
that opens files itself, and programs that the trial starts. `torch.save` is native; `audited` tells of it.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from orchestrator.engine.place import _overlay

MOST_NAMED = 500
"""Files elsewhere that are remembered of one trial, while it runs."""
MOST_TOLD = 20
"""Of them, those that are still there at its end, and are told."""
_WRITES = os.O_WRONLY | os.O_RDWR
_CALLED = {"os.rename": 1, "os.truncate": 0, "os.remove": 0, "os.mkdir": 0, "os.symlink": 1, "os.link": 1}
"""Events of calls that change a path, and which of their arguments it is."""
_NAMES_ONLY = ("os.remove", "os.mkdir", "os.symlink", "os.link")
"""Of them, those that change what is in a directory, and follow no link at the end of the path."""
_NO_FILES = ("/dev/", "/proc/", "/sys/", "/run/")
_CACHES = ("cache", "torchinductor", "torch_extensions", "wandb", "mlruns")
_OURS = ("orchestrator-", "orchestrate-", "ray")

F = TypeVar("F", bound=Callable[..., Any])


class Written:
    """What one trial has written outside of its place.

    `paths`: files elsewhere that were made, replaced or changed; `shared`: those of the project.
    """

    def __init__(self, base: Path, home: Path, project: Path, apart: tuple[Path, ...]) -> None:
        self._base, self._home, self._project, self._apart = base, home, project, apart
        self._lock = threading.RLock()
        self.paths: dict[str, None] = {}
        self.shared: dict[str, None] = {}

    def opens(self, name: Any, *, copy: bool, append: bool = False, name_only: bool = False) -> None:
        """Take in that a path is about to be written.

        `copy`: what it holds is kept; `append`: added to; `name_only`: it is made or removed, not followed.
        """
        if isinstance(name, int):
            return
        path = Path(os.path.abspath(os.fsdecode(name)))  # noqa: PTH100 - links are not followed
        with self._lock:
            if path.is_relative_to(self._base):
                if _overlay.own_folders(path, self._base):
                    if not name_only:
                        _overlay.own(path, self._base, copy=copy)
                    return
                path = path.parent.resolve() / path.name
            self._note(path, append=append)

    def told(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return `paths` and `shared` as far as they are there and fit."""
        paths = [path for path in self.paths if Path(path).is_file()]
        return tuple(paths[:MOST_TOLD]), tuple(self.shared)[:MOST_TOLD]

    def _note(self, path: Path, *, append: bool) -> None:
        text = str(path)
        if text.startswith(_NO_FILES) or _is_cache(path) or any(map(path.is_relative_to, self._apart)):
            return
        if path.is_dir():
            return
        if path.is_relative_to(self._project) and path.exists() and len(self.shared) < MOST_NAMED:
            self.shared[text] = None
        elif not append and len(self.paths) < MOST_NAMED:
            self.paths[text] = None


def _is_cache(path: Path) -> bool:
    """Whether it is a file that programs share with care: caches, locks, settings, byte code, our own."""
    if path.suffix in (".lock", ".pyc"):
        return True
    folders = path.parts[1:-1]
    hidden = any(part.startswith(".") for part in folders)
    return hidden or any(
        part.startswith(_OURS) or any(word in part.lower() for word in _CACHES) for part in folders
    )


_active: Written | None = None
_installed = False
_inside = threading.local()


@contextmanager
def watch(written: Written) -> Iterator[Written]:
    """Let `written` hear of what this process opens to write, in this context."""
    global _active, _installed
    if not _installed:  # a hook stays for good
        sys.addaudithook(_heard)
        _installed = True
    before, _active = _active, written
    try:
        yield written
    finally:
        _active = before


@contextmanager
def unheard() -> Iterator[None]:
    """Tell nobody what this thread writes in this context: it is not the trial's."""
    _inside.busy = True
    try:
        yield
    finally:
        _inside.busy = False


def _heard(event: str, arguments: tuple[Any, ...]) -> None:
    if _active is None or (event != "open" and event not in _CALLED):
        return
    written = _active
    if getattr(_inside, "busy", False):
        return
    _inside.busy = True
    try:
        with suppress(Exception):  # what goes wrong here is no fault of whoever opens a file
            _tell(written, event, arguments)
    finally:
        _inside.busy = False


def _tell(written: Written, event: str, arguments: tuple[Any, ...]) -> None:
    if event != "open":
        path = arguments[_CALLED[event]]
        written.opens(path, copy=event == "os.truncate", name_only=event in _NAMES_ONLY)
        return
    name, mode, flags = arguments
    if isinstance(mode, str):
        if any(letter in mode for letter in "wax+"):
            written.opens(name, copy="w" not in mode and "x" not in mode, append="a" in mode)
    elif flags & (_WRITES | os.O_TRUNC | os.O_CREAT):
        written.opens(name, copy=not flags & os.O_TRUNC, append=bool(flags & os.O_APPEND))


def audited(function: F) -> F:
    """Return `function(object, path, ...)`, which opens its path in native code, with an open's event."""

    @functools.wraps(function)
    def told(*arguments: Any, **named: Any) -> Any:
        path = arguments[1] if len(arguments) > 1 else named.get("f")
        if isinstance(path, str | os.PathLike):
            sys.audit("open", os.fspath(path), "wb", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        return function(*arguments, **named)

    return told  # type: ignore[return-value]
