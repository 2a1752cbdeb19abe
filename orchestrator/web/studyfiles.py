"""Which study files lie below a directory: the only ones that the page can start."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import StudyError
from orchestrator.record.links import refuse_to_leave
from orchestrator.study.yamlfile import MAX_CHARACTERS, parse_yaml

MOST_FILES = 500
"""YAML files that are looked at."""
_PLACES = (".", "configs", "studies")
"""Folders whose files are studies that people start; `configs` and `studies` with all that is below them."""
_SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True)
class StudyFile:
    """A file that looks like a study: `path` below the directory, posix; what it names itself, if it does."""

    path: str
    entrypoint: str | None
    name: str | None = None


def find_study_files(root: Path) -> tuple[StudyFile, ...]:
    """Return the study files in `root`, and in or below `configs` and `studies`; by path.

    Hidden files, links that lead out of `root` and YAML files of another kind are left out.
    """
    home = root.resolve()
    found: dict[str, StudyFile] = {}
    for path in _candidates(home):
        study = _read(path, home)
        if study is not None:
            found[study.path] = study
        if len(found) >= MOST_FILES:
            break
    return tuple(found[name] for name in sorted(found, key=lambda name: (name.count("/"), name)))


def _candidates(home: Path) -> Iterator[Path]:
    for place in _PLACES:
        for folder, folders, names in os.walk(home / place):
            folders[:] = [] if place == "." else sorted(name for name in folders if name[0] not in "._")
            yield from (
                Path(folder, name) for name in sorted(names) if name.endswith(_SUFFIXES) and name[0] != "."
            )


def _read(path: Path, home: Path) -> StudyFile | None:
    try:
        refuse_to_leave(path, str(home))
        if not path.is_file():
            return None
        with path.open(encoding="utf-8") as stream:
            data = parse_yaml(stream.read(MAX_CHARACTERS + 1), str(path)).data
    except (OSError, UnicodeDecodeError, StudyError):
        return None  # the command says what is wrong with a file that somebody chooses on purpose
    if not isinstance(data, dict) or not {"entrypoint", "extends"} & set(data):
        return None
    entrypoint, study = (
        said if isinstance(said := data.get(key), str) else None for key in ("entrypoint", "name")
    )
    return StudyFile(path.relative_to(home).as_posix(), entrypoint, study)
