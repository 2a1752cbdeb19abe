"""Where a trial works, and what becomes of what it leaves there."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tempfile
import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.decide.evaluation import OUTCOMES, is_outcome
from orchestrator.engine.messages import Assignment, Outcome, RunFacts
from orchestrator.engine.place import _overlay
from orchestrator.engine.place._watch import Written, unheard, watch
from orchestrator.record.layout import PLACES, TrialPaths
from orchestrator.record.privatedir import make_private
from orchestrator.record.state import TrialRecord
from orchestrator.record.storage import Storage

log = logging.getLogger(__name__)

MOST_SENT_BYTES = 1 << 30
"""Of one trial's files, what is sent to a storage that is no directory."""
_AHEAD = ".ahead-"
"""Begins the names of working directories that no trial has yet."""
BESIDE = Path("beside")
"""Where that is kept which a trial has written above its working directory: `../results.csv`."""
_CODE = (".py", ".pyi", ".ipynb", ".md", ".rst", ".toml", ".cfg", ".ini", ".sh")
"""Files of the project that somebody edits while a study runs, and that no trial writes."""


@dataclass(frozen=True)
class Home:
    """The working directory of one trial, below a directory that is its own.

    `base`: with links to what lies beside the project; `project`: where the command was given, on a machine
    that has that directory, else the study's code.
    """

    base: Path
    project: Path
    storage: Storage
    trial: TrialPaths
    attempt: int
    code: _overlay.CopiedCode | None = None

    @property
    def path(self) -> Path:
        """The working directory."""
        return _overlay.working_directory(self.base, self.project)

    def open(self) -> Path:
        """Make it, with the project in it."""
        records = Path(self.storage.path()) if self.storage.is_local else None
        if records is None:
            make_private(self.base.parents[1])
        return _overlay.lay_out(self.base, self.project, records, self.code)

    @contextmanager
    def entered(self) -> Iterator[Written]:
        """Work here in this context, which belongs to the process; what is written elsewhere is told."""
        home, before = self.open(), Path.cwd()
        shared = _overlay.linked(home, self.base)
        apart = (Path(self.storage.path()),) if self.storage.is_local else ()
        told = Written(self.base, home, self.project, apart)
        os.chdir(home)
        try:
            with watch(told):
                yield told
        finally:
            os.chdir(before)
            told.shared.update(dict.fromkeys(_changed(shared)))

    @staticmethod
    def is_over(outcome: Outcome) -> bool:
        """Whether the trial has ended for good, so that no attempt will look for what it has written."""
        return outcome.state.answered or outcome.cause in OUTCOMES

    def keep(self) -> None:
        """Move what the trial has written to its record, and take the rest away.

        What cannot be moved is no reason to lose the trial: it stays where it is, with a warning.
        """
        try:
            found = {path: self._kept_as(path) for path in _overlay.written(self.base)}
            if self.storage.is_local:
                for path, name in found.items():
                    target = Path(self.storage.path(name))
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.move(path, target)
            else:
                self._send(found)
        except OSError as error:
            log.warning("what the trial has written stays in %s: %s", self.path, error)
            return
        shutil.rmtree(self.base, ignore_errors=True)

    def _kept_as(self, path: Path) -> str:
        """Return the name in the record; what was written above the working directory is kept apart."""
        inside = path.is_relative_to(self.path)
        name = path.relative_to(self.path) if inside else BESIDE / path.relative_to(self.base)
        return f"{self.trial.files(self.attempt)}/{name.as_posix()}"

    def _send(self, found: Mapping[Path, str]) -> None:
        left = MOST_SENT_BYTES
        for path, name in found.items():
            left -= path.stat().st_size
            if left < 0:
                log.warning("of what the trial has written, %d GiB are stored", MOST_SENT_BYTES >> 30)
                return
            self.storage.write_atomic(name, path.read_bytes())


def _changed(shared: dict[str, tuple[int, int]]) -> Iterator[str]:
    """Yield the project's files that are not what they were; code is the user's to edit meanwhile."""
    for path, before in shared.items():
        with suppress(OSError):
            state = os.stat(path)  # noqa: PTH116 - a thousand of them
            if (state.st_mtime_ns, state.st_size) != before and not path.endswith(_CODE):
                yield path


class NextHome:
    """The working directory of the next trial, made while this one runs: a thousand links take a while.

    One for a process; what `facts` say of the project and the storage holds for all its trials.
    """

    def __init__(self, facts: RunFacts, code_root: Path | None) -> None:
        self._home = _with_code(_home(facts, f"{_AHEAD}{uuid.uuid4().hex}", "", 0), facts, code_root)
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Make it, in a thread."""
        self._thread = threading.Thread(target=self._open, name="next-place", daemon=True)
        self._thread.start()

    def _open(self) -> None:
        with unheard(), suppress(OSError):  # what is missing is made, or told, when a trial comes
            self._home.open()

    def becomes(self, home: Home) -> None:
        """Let it be a trial's, unless that has one: of another rank, or from an earlier attempt."""
        self._wait()
        with suppress(OSError):
            self._home.base.rename(home.base)

    def drop(self) -> None:
        """Take it away: no trial comes."""
        self._wait()
        shutil.rmtree(self._home.base, ignore_errors=True)

    def _wait(self) -> None:
        if self._thread is not None:
            self._thread.join()
            self._thread = None


def home_of(facts: RunFacts, assignment: Assignment, code_root: Path | None = None) -> Home:
    """Return where a trial works: the same for each of its ranks and attempts on a machine.

    Where studies are kept in a directory it lies beside them, so that what is written is there for an attempt
    on another machine too, and is moved to the record without a copy; else in the temporary directory.
    `code_root`: where the study's code is unpacked.
    """
    home = _home(facts, assignment.cell, assignment.trial_dir, assignment.attempt)
    return _with_code(home, facts, code_root)


def _with_code(home: Home, facts: RunFacts, code_root: Path | None) -> Home:
    if code_root is None or facts.module_root is None:
        return home
    return replace(home, code=_overlay.CopiedCode(code_root, Path(facts.module_root)))


def _home(facts: RunFacts, cell: str, trial_dir: str, attempt: int) -> Home:
    base = places(facts.storage, facts.study_root) / cell
    return Home(base, Path(facts.project or Path.cwd()), facts.storage, TrialPaths(trial_dir), attempt)


def places(storage: Storage, study_root: str) -> Path:
    """Return the directory in which the trials of a study work."""
    if storage.is_local:
        return Path(storage.path()) / PLACES / study_root
    study = hashlib.sha256(f"{storage.uri}/{study_root}".encode()).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"orchestrator-places-{os.getuid()}" / study


def seen_here(project: str, *instead: Path | None) -> str:
    """Return the project's directory on this machine: `project`, or the first that is there `instead`."""
    found = (path for path in (Path(project or "."), *instead) if path is not None and path.is_dir())
    return str(next(found, Path.cwd()).absolute())


def tidy(facts: RunFacts, trials: Iterable[TrialRecord]) -> None:
    """Keep what trials have left that have ended: those of several ranks, or whose workers were lost."""
    for trial in trials:
        home = _home(facts, trial.cell, f"{facts.study_root}/{trial.trial_dir}", trial.attempts)
        if is_outcome(trial) and home.base.is_dir():
            home.keep()
    folder = places(facts.storage, facts.study_root)
    for left in folder.glob(f"{_AHEAD}*"):
        shutil.rmtree(left, ignore_errors=True)
    with suppress(OSError):  # others work there yet
        folder.rmdir()
