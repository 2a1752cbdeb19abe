"""The processes of the page: every one is the command `orchestrate`, with words that can be copied."""

from __future__ import annotations

import json
import re
import shlex
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.record.lease import process_start
from orchestrator.study.secrets import environment_secrets, masked
from orchestrator.study.visible import visible

ANSWER_S = 120.0
"""How long a command that only looks may take."""
SHOWN_BYTES = 40_000
"""How much of the end of a launch's output is shown."""
_FOLDER = ".orchestrate/launches"
_LIFELINE = (sys.executable, "-P", "-m", "orchestrator.web.lifeline")
_ID = re.compile(r"\d{8}-\d{6}-[0-9a-f]{8}\Z")


ChildAnswer = subprocess.CompletedProcess[str]


@dataclass(frozen=True)
class Launch:
    """A study that the page started. `code` is None while it runs, and where nobody saw it end."""

    name: str
    words: tuple[str, ...]
    running: bool
    code: int | None
    output: str

    @property
    def command(self) -> str:
        """As one would type it."""
        return shown(self.words)


def shown(words: Iterable[str]) -> str:
    """Return the command as one would type it; what would not be seen of it as an escape."""
    return visible(shlex.join(["orchestrate", *words]))


class ChildProcesses:
    """Starts commands in `root`, the directory that is served."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._launched: dict[str, subprocess.Popen[bytes]] = {}
        self._boards: dict[str, tuple[subprocess.Popen[bytes], int]] = {}

    # ---- commands that answer ----------------------------------------------------------------------------

    def ask(self, *words: str) -> ChildAnswer:
        """Run a command to its end."""
        try:
            return subprocess.run(
                _argv(words),
                cwd=self.root,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=ANSWER_S,
            )
        except subprocess.TimeoutExpired:
            return ChildAnswer(words, 1, "", f"no answer within {ANSWER_S:.0f} s: {shown(words)}")
        except (OSError, ValueError) as error:  # words that no process can be given: too long, with a NUL
            return ChildAnswer(words, 2, "", f"error: the command cannot be started: {error}")

    # ---- studies: they outlive the page ------------------------------------------------------------------

    def launch(self, *words: str) -> str:
        """Start a command in a session of its own; returns the name of the launch."""
        folder = self.root / _FOLDER
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        name = f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:8]}"
        with (folder / f"{name}.log").open("wb") as log:
            child = subprocess.Popen(
                _argv(words),
                cwd=self.root,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._launched[name] = child
        facts = {"words": list(words), "pid": child.pid, "started": process_start(child.pid)}
        (folder / f"{name}.json").write_text(json.dumps(facts), encoding="utf-8")
        return name

    def launched(self, name: str) -> Launch | None:
        """How a launch stands, also one of an earlier server; None when there is none of this name."""
        if not _ID.match(name):
            return None
        folder = self.root / _FOLDER
        try:
            facts: dict[str, Any] = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
            output = masked(_tail(folder / f"{name}.log"), environment_secrets())
            words, begun = tuple(map(str, facts["words"])), facts["started"]
            alive = process_start(int(facts["pid"])) == begun is not None
        except (OSError, ValueError, KeyError, TypeError):
            return None
        child = self._launched.get(name)
        code = None if child is None else child.poll()
        return Launch(name, words, code is None and alive, code, output)

    # ---- TensorBoard: as long as the page ----------------------------------------------------------------

    def open_board(self, study: str, where: str) -> int:
        """Return the port of TensorBoard over a study, on loopback; started when it does not run."""
        port = self.board(study)
        if port is None:
            port = _free_port()
            words = [*_LIFELINE, *_argv(("tensorboard", where, "--port", str(port)))]
            silent = subprocess.DEVNULL
            child = subprocess.Popen(
                words, cwd=self.root, stdin=subprocess.PIPE, stdout=silent, stderr=silent
            )
            self._boards[study] = child, port
        return port

    def board(self, study: str) -> int | None:
        """Return the port of TensorBoard over a study, or None when it does not run."""
        child, port = self._boards.get(study, (None, 0))
        return port if child is not None and child.poll() is None else None

    def close(self) -> None:
        """End every TensorBoard; studies go on."""
        for child, _ in self._boards.values():
            assert child.stdin is not None
            child.stdin.close()
        for child, _ in self._boards.values():
            child.wait()


def _argv(words: tuple[str, ...]) -> list[str]:
    # -P: as for the installed command, modules of the served directory do not come before the installed ones
    return [sys.executable, "-P", "-m", "orchestrator", *words]


def _tail(file: Path) -> str:
    with file.open("rb") as stream:
        stream.seek(0, 2)
        stream.seek(max(0, stream.tell() - SHOWN_BYTES))
        return stream.read().decode("utf-8", errors="replace")


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
