"""Requests of other processes to the driver: one small file each in `control/`, which the driver takes."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator, TypeAdapter

from orchestrator.errors import UnreadableRecord
from orchestrator.record.jsonlines import to_json
from orchestrator.record.layout import StudyPaths
from orchestrator.record.reading import read_json
from orchestrator.record.storage import Storage

_PREFIX = "request-"
_SHOWN = 200


@dataclass(frozen=True)
class StopAsked:
    """Who asks for a clean stop, and when (seconds since 1970)."""

    by: Annotated[str, AfterValidator(lambda name: name[:_SHOWN])]
    t: float
    kind: Literal["stop"]


_REQUEST = TypeAdapter(StopAsked)


def ask_to_stop(
    storage: Storage, paths: StudyPaths, by: str, *, clock: Callable[[], float] = time.time
) -> None:
    """Leave a request for the driver of a study."""
    now = clock()
    name = f"{_PREFIX}{now:017.6f}-{uuid.uuid4().hex[:8]}.json"
    storage.write_atomic(f"{paths.control_dir}/{name}", to_json({"kind": "stop", "by": by, "t": now}))


def take_requests(storage: Storage, paths: StudyPaths) -> list[StopAsked]:
    """All requests, oldest first; they are removed. Files that are no requests are removed as well."""
    found = []
    for entry in storage.list(paths.control_dir):
        if entry.is_dir or not entry.name.startswith(_PREFIX):
            continue
        path = f"{paths.control_dir}/{entry.name}"
        try:
            found.append(read_json(storage, path, _REQUEST))
        except FileNotFoundError:
            continue
        except UnreadableRecord:
            pass  # nothing that anybody could act on
        storage.delete_file(path)
    return sorted(found, key=lambda asked: asked.t)
