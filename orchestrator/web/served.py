"""Which files of a study are shown, and how: what was made to be read; no checkpoints, nothing hidden."""

from __future__ import annotations

from pathlib import PurePosixPath

from starlette.responses import Response

from orchestrator.api.recorded import OpenedStudy
from orchestrator.errors import StudyError

SANDBOX = "sandbox allow-scripts allow-popups; default-src 'none'; style-src 'unsafe-inline'; "
SANDBOX += "script-src 'unsafe-inline'; img-src data: blob:; form-action 'none'; base-uri 'none'"
"""A report is a page with a script. Whoever can write into a study's directory could put another one there:
it runs apart from our pages, without their cookie."""
TEXT = "text/plain; charset=utf-8"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".pdf": "application/pdf",
    ".parquet": "application/octet-stream",
    **dict.fromkeys((".jsonl", ".csv", ".txt", ".md", ".tex", ".yaml"), TEXT),
}
"""What is shown, by suffix."""
HIDDEN = ("control", "checkpoints")
MOST_BYTES = 64 << 20
Entries = list[tuple[str, bool, int]]


def served(run: OpenedStudy, path: str) -> Response | Entries | None:
    """Return a file of the study, or the entries (name, is a directory, bytes) of one of its directories.

    None for what is not there or not shown. Paths and links cannot lead out of the study's directory.
    """
    parts = PurePosixPath(path).parts
    if "\0" in path or "\\" in path or any(part[0] in "./" or part in HIDDEN for part in parts):
        return None
    below = "/".join((run.paths.root, *parts))
    try:
        entry = run.storage.look_up(below)
        real = PurePosixPath(run.storage.followed(below)).parts[1:]
        if entry is None or any(part[0] == "." or part in HIDDEN for part in real):
            return None
        if entry.is_dir:
            return [
                (found.name, found.is_dir, found.size)
                for found in run.storage.list(below)
                if found.name[0] != "." and found.name not in HIDDEN and (found.is_dir or _type(found.name))
            ]
        kind = _type(entry.name) and _type(PurePosixPath(*real).name)
        if kind is None or entry.size > MOST_BYTES:
            return None
        content = run.storage.read_bytes(below)
    except (StudyError, FileNotFoundError, ValueError):  # a link that leads out is not there
        return None
    # browsers refuse a sandboxed page with any other opener policy
    apart = {"Content-Security-Policy": SANDBOX, "Cross-Origin-Opener-Policy": "unsafe-none"}
    return Response(content, media_type=kind, headers=apart)


def _type(name: str) -> str | None:
    return TYPES.get(PurePosixPath(name).suffix.lower())
