"""Requests of other processes to the driver: one small file each in `control/`, which the driver takes."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

from orchestrator.record.jsonlines import from_json, to_json
from orchestrator.record.layout import StudyPaths
from orchestrator.record.storage import Storage

Kind = Literal["stop"]
_PREFIX = "request-"


@dataclass(frozen=True)
class Request:
    """What is asked, by whom, and when (seconds since 1970)."""

    kind: Kind
    by: str
    t: float


def request(
    storage: Storage, paths: StudyPaths, kind: Kind, by: str, *, clock: Callable[[], float] = time.time
) -> Request:
    """Leave a request for the driver of a study. Raises `ValueError` for an unknown kind."""
    if kind not in get_args(Kind):
        raise ValueError(f"unknown request {kind!r}; valid: {', '.join(get_args(Kind))}")
    asked = Request(kind, by, clock())
    name = f"{_PREFIX}{asked.t:017.6f}-{uuid.uuid4().hex[:8]}.json"
    line = to_json({"kind": asked.kind, "by": asked.by, "t": asked.t})
    storage.write_atomic(f"{paths.control_dir}/{name}", line)
    return asked


def take_requests(storage: Storage, paths: StudyPaths) -> list[Request]:
    """All requests, oldest first; they are removed. Files that are no requests are removed as well."""
    found = []
    for entry in storage.list(paths.control_dir):
        if not entry.name.startswith(_PREFIX):
            continue
        path = f"{paths.control_dir}/{entry.name}"
        try:
            data = from_json(storage.read_bytes(path))
            if data["kind"] in get_args(Kind):
                found.append(Request(data["kind"], str(data["by"]), float(data["t"])))
        except FileNotFoundError:
            continue
        except (ValueError, KeyError, TypeError):
            pass  # nothing that anybody could act on
        storage.delete_file(path)
    return sorted(found, key=lambda asked: asked.t)
