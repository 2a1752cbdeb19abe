"""What the start commands of a cluster file say: the environment in which Ray is started, and its port.

A command of ours has to see the same Python, token mode and variables as Ray itself. The file says it only
once, in front of `ray start`; so it is read from there: exports, `source`, `conda activate`, assignments in
front of the program, and the directory that `ray` is called from.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import PurePosixPath

GCS_PORT = 6379
_SETS_ENVIRONMENT = frozenset({"export", "source", ".", "ulimit", "conda", "eval", "module", "umask", "cd"})
_LEADS = frozenset({"exec", "env", "nohup", "command"})
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
DASHBOARD_PORT = 8265


@dataclass(frozen=True)
class RayStart:
    """One `ray start`: shell text to run before a command, and what follows `start`."""

    environment: str
    options: str

    @property
    def port(self) -> int:
        """Of the GCS, when this is the head's."""
        return int(self._option("port") or GCS_PORT)

    @property
    def dashboard_port(self) -> int:
        """Where the dashboard and the job API listen, when this is the head's."""
        return int(self._option("dashboard-port") or DASHBOARD_PORT)

    @property
    def dashboard_is_private(self) -> bool:
        """It listens on loopback, as it does unless it is told otherwise."""
        return self._option("dashboard-host") in (None, "127.0.0.1", "localhost", "::1")

    def _option(self, name: str) -> str | None:
        found = re.search(rf"(?:^|\s)--{name}[= ](\S+)", self.options)
        return found and found.group(1).strip("\"'")


def ray_start(commands: Sequence[str]) -> RayStart | None:
    """Return the `ray start` among the commands of a file, each with a shell of its own; or None."""
    for command in commands:
        before: list[str] = []
        for part in split_commands(command):
            found = _start_in(part)
            if found is not None:
                return RayStart("; ".join([*before, *found[0]]), found[1])
            if part.split(maxsplit=1)[0] in _SETS_ENVIRONMENT:
                before.append(part)
    return None


def _start_in(part: str) -> tuple[list[str], str] | None:
    """(shell text that sets its environment, its options) when the part is a `ray start`."""
    setting: list[str] = []
    rest = part
    while rest:
        word, rest = _first_word(rest)
        if _ASSIGNMENT.match(word):
            setting.append(f"export {word}")
        elif word not in _LEADS:
            break
    else:
        return None
    program = PurePosixPath(word.strip("\"'"))
    verb, options = _first_word(rest)
    if program.name != "ray" or verb != "start":
        return None
    folder = str(program.parent)
    if folder != ".":
        setting.append(f"export PATH={folder}:$PATH")
    return setting, options


def _first_word(text: str) -> tuple[str, str]:
    """Return the first word as it is written, quotes included, and what follows it."""
    text = text.strip()
    for kind, position in _outside(text):
        if kind.isspace():
            return text[:position], text[position:].strip()
    return text, ""


def split_commands(text: str) -> list[str]:
    """Return the simple commands of a line of shell, without what joins them (`;`, `&&`, `|`, newline)."""
    ends = [position for kind, position in _outside(text) if kind in ";&|\n"]
    parts = (text[start + 1 : end].strip() for start, end in pairwise([-1, *ends, len(text)]))
    return [part for part in parts if part]


def _outside(text: str) -> Iterator[tuple[str, int]]:
    """(character, position) of all that is neither quoted nor inside `$(...)`, `${...}`, backticks."""
    quote, depth, position = "", 0, 0
    while position < len(text):
        here = text[position]
        if here == "\\" and quote != "'":
            position += 2
            continue
        if quote:
            quote = "" if here == quote else quote
        elif here in "'\"`":
            quote = here
        elif here in "({":
            depth += 1
        elif here in ")}":
            depth = max(0, depth - 1)
        elif not depth:
            yield here, position
        position += 1


def in_login_shell(command: str, environment: str = "") -> str:
    """Return the words for `ssh HOST` that run `command` as the cluster launcher runs its own: a login shell
    that has read `~/.bashrc`, then the environment of the file. What the shell itself says is thrown away: it
    complains when it has no terminal, and start files may greet.
    """
    steps = [step for step in ("source ~/.bashrc", environment, f"({command}) 1>&4 2>&3 3>&- 4>&-") if step]
    return f"bash --login -i -c {shlex.quote('; '.join(steps))} 3>&2 4>&1 1>/dev/null 2>/dev/null"
