"""A recorded study as the filled form of its study file: what differs from the file, and under a free name.

No HTTP, and of files one digest: is the study file the same as then?
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from orchestrator.record.recorded import StudyFileThen
from orchestrator.study.changes import MISSING, leaves
from orchestrator.study.values import MAX_NAME, name_fault
from orchestrator.study.visible import shortened
from orchestrator.web.form import Form, is_valid, shown
from orchestrator.web.studyfiles import StudyFile

MOST_LINES, MOST_LETTERS = 20, 200
"""Settings that are told of, and letters of each."""
_RESOLVED = ("name", "stopping.version")
"""Keys of which a study has its own in any case."""
_BOXES = ("components", "monitor", "loggers")


@dataclass(frozen=True)
class Carried:
    """`filled`: the form, by name; `changed`: its settings that differ from the file; `left`: other ones."""

    filled: dict[str, list[str]]
    changed: list[str]
    left: list[str]


@dataclass(frozen=True)
class EarlierStudy:
    """What the form says of the study that it starts from.

    `words`: of its file; `changed`, `left`: as in `Carried`; `command`: starts it anew where that is gone;
    `extends`: more of this study is asked for, not another one.
    """

    study: str
    words: str
    changed: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    command: str = ""
    extends: bool = False


def file_of(then: StudyFileThen | None, name: str, known: Sequence[StudyFile], root: Path) -> tuple[str, str]:
    """Return the file among those that are offered that a study came from, or nothing; and what to say of it.

    Args:
        then: what is recorded of it.
        name: of the study, by which the file of an earlier record is found.
        known: the files below `root`.
        root: the directory that is served.
    """
    if then is None:
        named = [file.path for file in known if file.name == name]
        if named:
            return named[0], f"Its record does not say from which file it came; {named[0]} has its name."
        return "", "Its record does not say from which file it came, and none here has its name."
    there = next((file.path for file in known if str((root / file.path).resolve()) == then.path), None)
    if there is None:
        return "", f"Its study file, {then.path}, is not among those that can be started here."
    same = hashlib.sha256((root / there).read_bytes()).hexdigest() == then.sha256
    return there, "" if same else f"{there} has changed since this study was begun."


def carried(form: Form, then: Mapping[str, Any], now: Mapping[str, Any], name: str) -> Carried:
    """Return the form of a study file as an earlier study would have filled it.

    Args:
        form: of the file.
        then: the study as it was started, with every default.
        now: what the file says, with every default.
        name: of the new study.
    """
    filled, changed, left = {"name": [name]}, list[str](), list[str]()
    known = {field.name: field for field in form.fields}
    for key, before, after in _differing(_settings(then), _settings(now)):
        field = known.get(key)
        text = "" if before is MISSING else _seeds(before) if key == "seeds" else shown(before)
        if field is not None and before is not MISSING and is_valid(field, text):
            filled[key] = [text]
            changed.append(key)
        else:
            left.append(_line(key, before, after))
    arms = _arms(then)
    on = {"component": set(arms), "monitor": _named(then, "monitor"), "logger": _named(then, "loggers")}
    for group, ticks in form.groups().items():
        there = on.get(group, set())
        filled[group] = [tick.value for tick in ticks if tick.value in there]
        changed += [group] if any(tick.on != (tick.value in there) for tick in ticks) else []
        left += [f"{group} {one}: not on this form" for one in sorted(there.difference(filled[group]))]
    both = [(arm, made, _arms(now).get(arm)) for arm, made in arms.items() if arm in filled["component"]]
    left += [_line(f"component {arm}", made, is_now) for arm, made, is_now in both if made != is_now]
    return Carried(filled, changed, _some(left))


def free_name(name: str, is_taken: Callable[[str], bool]) -> str:
    """Return a name like this one that no study has: `digits-2`; `study-2` where this could be no name."""
    stem = "study" if name_fault(name) else re.sub(r"-\d{1,6}\Z", "", name)[: MAX_NAME - 7]
    return next(other for other in (f"{stem}-{number}" for number in count(2)) if not is_taken(other))


def _settings(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return a study by dotted keys, without what boxes of the form say."""
    return {key: value for key, value in leaves(spec) if key.partition(".")[0] not in _BOXES}


def _differing(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Yield the keys whose values differ, with both."""
    for key in dict.fromkeys((*now, *then)):
        before, after = then.get(key, MISSING), now.get(key, MISSING)
        if before != after and key not in _RESOLVED:
            yield key, before, after


def _arms(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a study changes, by the values of the form's boxes."""
    found: dict[str, Any] = {}
    for name, component in (spec.get("components") or {}).items():
        if (component or {}).get("without"):
            found[name] = component["without"]
        found |= {f"{name}={other}": made for other, made in ((component or {}).get("swap") or {}).items()}
    return found


def _named(spec: Mapping[str, Any], key: str) -> set[str]:
    said = spec.get(key) or ()
    return {said} if isinstance(said, str) else set(said)


def _seeds(seeds: Any) -> str:
    """Return seeds as a study file would say them: a number, or a list."""
    return json.dumps(len(seeds) if seeds == list(range(len(seeds))) else seeds)


def _line(key: str, before: Any, after: Any) -> str:
    then, now = ("nothing" if value is MISSING else shown(value) for value in (before, after))
    return f"{key}: {shortened(then, MOST_LETTERS)} there, {shortened(now, MOST_LETTERS)} in the file"


def _some(lines: list[str]) -> list[str]:
    more = len(lines) - MOST_LINES
    return [*lines[:MOST_LINES], *([f"and {more} more settings"] if more > 0 else [])]
