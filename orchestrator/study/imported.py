"""Which files a study's results depend on, as far as reading them tells: nothing is imported, nothing is run.

Files are bytes by their posix names below the code's root, so that code of today and code of an archive are
read alike.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Any

from orchestrator.study.entrypoint import OF_COMMANDS
from orchestrator.study.spec import StudySpec

_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*(:[A-Za-z_]\w*)?\Z")
_NAMES_CODE = ("entrypoint", "datamodule", "datasets", "monitor", "baseline", "components", "tune")
"""Keys of a study whose values may name code."""
_WORD = re.compile(rb"[\w./-]+")
_BLANK = r"[^\S\n]*"
_IMPORT = re.compile(
    rf"(?:^|[;:]){_BLANK}(?:"
    rf"from\b{_BLANK}(\.*){_BLANK}([\w.]*){_BLANK}\bimport\b{_BLANK}(\((?:[^()#]|#.*)*\)|[^\n;#(]+)|import\b([^\n;#]+))"
    r"|\b(?:import_module|__import__)\(\s*[\"']([\w.]+)[\"']",
    re.MULTILINE,
)
"""Dots, package and names of a `from`; modules of an `import`; the name that a call imports."""
_COMMENT = re.compile("#.*")


def counted_files(files: Mapping[str, bytes], spec: StudySpec, seen: Iterable[str] = ()) -> frozenset[str]:
    """Return the files that the study names, and all that they import, one through the other.

    `seen`: files that trials have imported besides. Where nothing that is named is found, all code counts.
    """
    settings = spec.to_dict()
    texts = (text for key in _NAMES_CODE for text in _strings(settings.get(key)))
    named = {name for text in texts for name in _named(text, files)}
    if not named:
        return frozenset(name for name in files if name.endswith(OF_COMMANDS)) | frozenset(seen)
    return closure(files, (*named, *seen))


def closure(files: Mapping[str, bytes], start: Iterable[str]) -> frozenset[str]:
    """Return the files of `start` that are there, and those of `files` that they import."""
    todo = sorted(name for name in start if name in files)
    above = ["", *dict.fromkeys(_folder(name) for name in todo)]  # a script's own directory is on its path
    found: set[str] = set()
    while todo:
        name = todo.pop()
        if name in found:
            continue
        found.add(name)
        if name.endswith(".py"):
            own = [place.as_posix() for place in PurePosixPath(name).parents][:-1]
            places = list(dict.fromkeys([*above, *own]))
            for module in imported_by(files[name], name):
                todo += _files_of(module, files, places)
        elif name.endswith(OF_COMMANDS):
            todo += (path for word in set(_WORD.findall(files[name])) for path in _beside(word, name, files))
    return frozenset(found)


def _beside(word: bytes, name: str, files: Mapping[str, bytes]) -> Iterator[str]:
    """Yield the file that a word in another language's script names, from the root or from beside it."""
    path = PurePosixPath(word.decode("ascii"))
    yield from (
        place for place in {path.as_posix(), (PurePosixPath(name).parent / path).as_posix()} & files.keys()
    )


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, list | tuple):
        words = list(value)
        yield from (f"-m {after}" for word, after in pairwise(words) if word == "-m")
        for inner in words:
            yield from _strings(inner)


def _named(text: str, files: Mapping[str, bytes]) -> Iterator[str]:
    """Yield the files that a value names: a path, `package.module:name`, or what `python -m` runs."""
    try:
        words = shlex.split(text)
    except ValueError:
        words = text.split()
    for before, word in zip(["", *words], words, strict=False):
        path = PurePosixPath(word).as_posix()
        if path in files:
            yield path
        elif before == "-m":
            yield from _files_of(word, files, [""])
            yield from _files_of(f"{word}.__main__", files, [""])
        elif _MODULE.match(word) and ("." in word or ":" in word):
            yield from _files_of(word.partition(":")[0], files, [""])


def _files_of(module: str, files: Mapping[str, bytes], places: Iterable[str]) -> list[str]:
    """Return the files that the import of a dotted name reads: packages on the way, and the module.

    Looked for in one place after the other; what lies beyond a module is a name in it.
    """
    parts = module.split(".")
    for place in places:
        found = []
        for number in range(1, len(parts) + 1):
            path = "/".join([*([place] if place else []), *parts[:number]])
            if f"{path}/__init__.py" in files:
                found.append(f"{path}/__init__.py")
            elif f"{path}.py" in files:
                found.append(f"{path}.py")
                break
        if found:
            return found
    return []


def imported_by(source: bytes, name: str) -> Iterator[str]:
    """Yield dotted names that a file imports, wherever in it, those in a string for `import_module` too.

    By its text: to parse three hundred files takes a second. So what only a docstring imports counts too,
    and what follows a syntax error.
    """
    text = source.decode("utf-8-sig", "replace").replace("\r\n", "\n").replace("\\\n", " ")
    for found in _IMPORT.finditer(text):
        dots, base, names, modules, called = found.groups()
        if called:
            yield called
        elif modules is not None:
            yield from (words[0] for words in _aliases(modules))
        elif package := _absolute(len(dots), base, name):
            yield package
            yield from (f"{package}.{words[0]}" for words in _aliases(names))
        else:
            yield from (words[0] for words in _aliases(names))


def _aliases(names: str) -> Iterator[list[str]]:
    """Yield the words of each `name as other`."""
    listed = _COMMENT.sub("", names).strip("() \t\f").split(",")
    yield from (words for alias in listed if (words := alias.split()))


def _absolute(level: int, base: str, name: str) -> str:
    """Return the package that a `from` starts at, by its name below the root."""
    package = name.split("/")[:-level] if level else []
    return ".".join([*package, *([base] if base else [])])


def _folder(name: str) -> str:
    return name.rpartition("/")[0]
