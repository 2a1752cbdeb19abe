"""Find a command's program and script before anything is started, as far as this machine can tell."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

from orchestrator.errors import Fault, StudyError
from orchestrator.study.arguments import parts
from orchestrator.study.command import CommandSpec
from orchestrator.study.entrypoint import SCRIPTS, EntrypointSource, find_module
from orchestrator.study.faults import nearest, show


def search_path() -> str:
    """Where programs are looked for: beside the Python that runs this, then as everywhere."""
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])


def program_of(command: CommandSpec) -> str | None:
    """Return the program that every node has to have, by its name; None where it is among the study's own
    files or is another one in each trial.

    Of `env NAME=value julia train.jl` it is julia.
    """
    words = ["sh"] if command.shell else list(command.words)
    if words and Path(words[0]).name == "env":
        words = [word for word in words[1:] if "=" not in word and not word.startswith("-")] or words
    word = words[0] if words else ""
    return word if word and _is_fixed(word) and ("/" not in word or word.startswith("/")) else None


def found_as(program: str) -> str | None:
    """Return where this machine has a program; None: it has none."""
    return shutil.which(program, path=search_path())


def locate_command(command: CommandSpec, study_file: Path, cwd: Path) -> EntrypointSource:
    """Find the program and the script of a command; its code is below the directory that has the script.

    As for functions that is `cwd`, else the study file's directory.

    Raises:
        StudyError: there is no such program, or no such script.
    """
    return _Search(command, study_file, [cwd.resolve(), study_file.resolve().parent]).source()


class _Search:
    def __init__(self, command: CommandSpec, study_file: Path, roots: list[Path]) -> None:
        self._command, self._study_file, self._roots = command, study_file, roots

    def source(self) -> EntrypointSource:
        words = self._words()
        found = None
        if words and not self._command.shell:
            found = self._program(words[0])
        script = next(filter(_is_script, words[1:]), None)
        if "-m" in words[1:-1]:
            found = self._module(words[words.index("-m", 1) + 1]) or found
        elif script is not None:
            found = self._script(script)
        root = self._roots[1] if found is None else found[0]
        named = () if found is None else (found[1].relative_to(found[0]).as_posix(),)
        name = Path(words[0]).name if words else "sh"
        return EntrypointSource("", name, root, root if found is None else found[1], named)

    def _words(self) -> list[str]:
        """Return the words; of a shell's text those that it begins with, where it can be split."""
        if not self._command.shell:
            return list(self._command.words)
        try:
            return shlex.split(str(self._command.command))
        except ValueError:
            return []

    def _program(self, word: str) -> tuple[Path, Path] | None:
        """Return where a program of the study's own lies, None for one of the system's."""
        if not _is_fixed(word):
            return None
        if "/" not in word:
            if found_as(word) is None:
                raise self._error(f"there is no program {word!r}", word, self._nearest_program(word))
            return None
        place = self._beside(word)
        if place is None:
            hint = "write its name alone to have it looked for in PATH"
            where = "" if Path(word).is_absolute() else f" in {self._places()}"
            raise self._error(f"there is no program {word!r}{where}", word, hint)
        if not os.access(place[1], os.X_OK):
            hint = f"chmod +x {word}, or name what runs it: bash {word}"
            raise self._error(f"{place[1]} cannot be executed", word, hint)
        return None if Path(word).is_absolute() else place

    def _script(self, word: str) -> tuple[Path, Path] | None:
        place = self._beside(word)
        if place is None and not self._command.shell:
            names = sorted(
                path.name
                for root in self._roots
                for path in (root / word).parent.glob(f"*{Path(word).suffix}")
            )
            hint = nearest(Path(word).name, names) if names else None
            raise self._error(f"there is no file {word!r} in {self._places()}", word, hint)
        return place

    def _module(self, name: str) -> tuple[Path, Path] | None:
        if not _is_fixed(name) or not all(part.isidentifier() for part in name.split(".")):
            return None
        found = find_module(name.split("."), self._roots)
        if found is None and not self._command.shell and Path(self._words()[0]).name.startswith("python"):
            places = f"looked in {self._places()} and among the installed packages"
            raise self._error(f"there is no module {name!r}", name, places)
        return found if found is not None and found[0] in self._roots else None

    def _beside(self, word: str) -> tuple[Path, Path] | None:
        return next(((root, root / word) for root in self._roots if (root / word).is_file()), None)

    def _places(self) -> str:
        return " and ".join(dict.fromkeys(map(str, self._roots)))

    def _nearest_program(self, word: str) -> str:
        if self._beside(word) is not None:
            return f"write ./{word}"
        folders = dict.fromkeys(search_path().split(os.pathsep))
        close = nearest(word, sorted({name for folder in folders for name in _names(folder)}))
        if close.startswith("did you mean"):
            return close
        return f"install it, or let the nodes look for it: env {word}"

    def _error(self, message: str, word: str, hint: str | None) -> StudyError:
        return StudyError(Fault(message, str(self._study_file), None, "entrypoint.command", show(word), hint))


def _is_fixed(word: str) -> bool:
    """Whether a word is the same in every trial."""
    return not any(part.is_key for part in parts(word))


def _is_script(word: str) -> bool:
    """Whether a word names a script of the study's: relative, and the same in every trial."""
    if (
        not word.endswith((".py", *SCRIPTS))
        or word.startswith(("-", "/"))
        or any(c in word for c in " =\n\0")
    ):
        return False
    return _is_fixed(word)


def _names(folder: str) -> list[str]:
    try:
        return [path.name for path in Path(folder).iterdir()]
    except OSError:
        return []
