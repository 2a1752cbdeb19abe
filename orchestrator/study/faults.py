"""What is wrong with a study, before it is known where that was written; nearest valid names."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.errors import Fault, StudyError

if TYPE_CHECKING:
    from pydantic import BaseModel

Path = tuple[str | int, ...]
"""Keys and indices from the top of a study file to a value."""


@dataclass(frozen=True)
class Problem:
    """One fault of a study, addressed by the path of the value; the loader adds file and line."""

    path: Path
    message: str
    value: str | None = None
    hint: str | None = None

    def fault(self, file: str | None = None, line: int | None = None) -> Fault:
        return Fault(self.message, file, line, dotted(self.path) or None, self.value, self.hint)


def items(value: Any) -> Iterable[tuple[str | int, Any]]:
    """Return the parts of a mapping or a list, each with its key or index; none of other values."""
    if isinstance(value, Mapping):
        return value.items()
    return enumerate(value) if isinstance(value, (list, tuple)) else ()


def walk(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield nested data and everything in it, each with its path."""
    yield path, value
    for key, item in items(value):
        yield from walk(item, (*path, key))


def dotted(path: Path) -> str:
    """Return the path as a person writes it: `components.mixup.without`."""
    return ".".join(str(part) for part in path)


def raise_problems(problems: Sequence[Problem]) -> None:
    """Raise a StudyError with every problem, or return when there is none."""
    if problems:
        raise StudyError([problem.fault() for problem in problems])


def unused_problems(section: BaseModel, path: Path, keys: Iterable[str], when: str) -> Iterator[Problem]:
    """Find settings that would have no effect. Defaults are accepted: a study on disk holds all of them."""
    for key in keys:
        value = getattr(section, key)
        if value != type(section).model_fields[key].default:
            yield Problem((*path, key), f"is only used {when}", show(value), hint="remove it")


def nearest(word: str, valid: Iterable[str], *, instead: Sequence[str] = (), most: int = 20) -> str:
    """Return a hint: the nearest valid name; when none is near, all of them, or those in `instead`."""
    names = [str(name) for name in valid]
    if not names:
        return "there is no valid name here"
    lower = {name.lower(): name for name in reversed(names)}
    close = difflib.get_close_matches(word.lower()[:100], lower, n=1, cutoff=0.6)
    if not close:  # only the last part is right: `batchnorm` for `model.batchnorm`
        tail = word.lower().rsplit(".", 1)[-1]
        close = [name for name in lower if name.rsplit(".", 1)[-1] == tail][:1]
    if close:
        return f"did you mean {lower[close[0]]}?"
    names = list(instead) or names
    shown = ", ".join(names[:most]) + (", ..." if len(names) > most else "")
    return f"valid: {shown}"


def show(value: Any) -> str:
    """Return a value as YAML would hold it on one line, at most 60 characters."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        value = list(value)[:20]
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."
