"""The way in for the files of a run directory: limited, typed, and told with their place where damaged."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from orchestrator.errors import Fault, UnreadableRecord
from orchestrator.record.jsonlines import from_json
from orchestrator.record.storage import Storage

SHOWN = 200
DAMAGED = "the record of this study is damaged"
HINT = "put the file back as it was; `ablate --fresh` starts anew and keeps the old directory"
MOST_FAULTS = 1000
MOST_TOLD = 20
Kind = TypeVar("Kind")


@contextmanager
def nothing_thrown_away() -> Iterator[None]:
    """Spare Python the search for garbage while much is read, all of which stays: a fifth of the time."""
    searching = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if searching:
            gc.enable()


def read_json(storage: Storage, path: str, kind: TypeAdapter[Kind]) -> Kind:
    """Return what a JSON file holds.

    Raises `FileNotFoundError`, or `UnreadableRecord` when it does not hold that.
    """
    data = storage.read_bytes(path)
    with telling(storage, path):
        return kind.validate_python(from_json(data))


@contextmanager
def telling(storage: Storage, path: str) -> Iterator[None]:
    """Let a `ValueError` about what a file says name that file, and the field: as `UnreadableRecord`."""
    try:
        yield
    except ValidationError as error:
        raise unreadable(storage, path, *faults_of(error)[0]) from error
    except ValueError as error:
        raise unreadable(storage, path, "", str(error)) from error


def faults_of(error: ValidationError) -> list[tuple[str, str]]:
    """Return the fields that are wrong, and why; not all of them where they are many."""
    if error.error_count() > MOST_FAULTS:
        return [("", f"{error.error_count():,} values are of a wrong kind")]
    told = error.errors(include_url=False, include_input=False)[:MOST_TOLD]
    return [(".".join(map(str, one["loc"]))[:SHOWN], one["msg"][:SHOWN]) for one in told]


def unreadable(
    storage: Storage, path: str, field: str, why: str, line: int | None = None
) -> UnreadableRecord:
    """Return the error that names a file of a record, the place in it, and why it is damaged."""
    message = f"{DAMAGED}: {why[:SHOWN]}"
    return UnreadableRecord(Fault(message, f"{storage.uri}/{path}", line, field or None, hint=HINT))
