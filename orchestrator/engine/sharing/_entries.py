"""Small files that are locked as long as a process lives: whoever has ended has left nothing that counts."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from pydantic import TypeAdapter, ValidationError

_LARGEST = 1 << 16
Entry = TypeVar("Entry")


def put(path: Path, stack: ExitStack) -> BinaryIO:
    """Make a file and lock it until the stack ends. Held: the lock of all, or it looks like a left one."""
    file = stack.enter_context(path.open("xb"))
    stack.callback(path.unlink, missing_ok=True)
    fcntl.flock(file, fcntl.LOCK_EX)
    return file


def living(folder: Path, kind: TypeAdapter[Entry]) -> list[tuple[Path, Entry]]:
    """Return what processes that live have put there; what others have left is removed."""
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            with path.open("rb") as file:
                if _is_free(file):
                    path.unlink(missing_ok=True)
                else:
                    found.append((path, kind.validate_json(file.read(_LARGEST))))
        except (OSError, ValidationError):
            continue
    return found


def write(file: BinaryIO, plain: Mapping[str, Any]) -> None:
    """Let the file hold this."""
    file.seek(0)
    file.truncate()
    file.write(json.dumps(plain).encode())
    file.flush()


def _is_free(file: BinaryIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
