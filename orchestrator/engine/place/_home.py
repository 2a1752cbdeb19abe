"""Where a trial works, and what becomes of what it leaves there."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tempfile
import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
_APART = ".apart-"
"""Begins the names of working directories that no trial has, yet or any more."""
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

    def open(self) -> dict[str, int]:
        """Make it, with the project in it; returns the directories shown, and when each was changed (ns)."""
        records = Path(self.storage.path()) if self.storage.is_local else None
        if records is None:
            make_private(self.base.parents[1])
        return _overlay.lay_out(self.base, self.project, records, self.code)

    @contextmanager
    def entered(self, shows: Sequence[str] | None = None) -> Iterator[Written]:
        """Work here in this context, which belongs to the process; what is written elsewhere is told.

        `shows`: the project's files, where the directory is made already.
        """
        if shows is None:
            self.open()
            shows = self.shows()
        home, before, shared = self.path, Path.cwd(), _overlay.states(shows)
        apart = (Path(self.storage.path()),) if self.storage.is_local else ()
        told = Written(self.base, home, self.project, apart)
        os.chdir(home)
        try:
            with watch(told):
                yield told
        finally:
            os.chdir(before)
            now = _overlay.states(shared)
            changed = [path for path, state in now.items() if state != shared[path]]
            told.shared.update(dict.fromkeys(changed))

    def shows(self) -> list[str]:
        """Return the project's files that it shows, but for code: that is the user's to edit meanwhile."""
        return [path for path in _overlay.linked(self.path, self.base) if not path.endswith(_CODE)]

    @staticmethod
    def is_over(outcome: Outcome) -> bool:
        """Whether the trial has ended for good, so that no attempt will look for what it has written."""
        return outcome.state.answered or outcome.cause in OUTCOMES

    def keep(self) -> None:
        """Move what the trial has written to its record, and take the rest away."""
        if self.moved(_overlay.written(self.base)):
            _take_away(self.base)

    def moved(self, written: Iterable[Path]) -> bool:
        """Move what the trial has written to its record; returns whether it is there.

        What cannot be moved is no reason to lose the trial: it stays where it is, with a warning.
        """
        try:
            found = {path: self._kept_as(path) for path in written}
            if self.storage.is_local:
                for path, name in found.items():
                    target = Path(self.storage.path(name))
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.move(path, target)
            else:
                self._send(found)
        except OSError as error:
            log.warning("what the trial has written stays in %s: %s", self.path, error)
            return False
        return True

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


def _take_away(base: Path) -> None:
    """Remove a directory in a thread, as a thousand links take a while; from now on it is no trial's."""
    apart = base.with_name(f"{_APART}{uuid.uuid4().hex}")

    def remove() -> None:
        with unheard():
            shutil.rmtree(apart, ignore_errors=True)

    with suppress(OSError):
        base.rename(apart)
        threading.Thread(target=remove, name="last-place").start()


class NextHome:
    """The working directory of a process's next trial: made beside the start, and that of the last one again.

    A thousand links take half a second on a disk, and longer on one that is shared. What `facts` say of the
    project and the storage holds for all trials of the process.
    """

    def __init__(self, facts: RunFacts, code_root: Path | None) -> None:
        self._home = _with_code(_home(facts, f"{_APART}{uuid.uuid4().hex}", "", 0), facts, code_root)
        self._lent: Path | None = None
        self._thread: threading.Thread | None = None
        self._folders: dict[str, int] = {}
        self._laid = _overlay.Laid({}, {})
        self._shows: list[str] = []

    def begin(self) -> None:
        """Make it, in a thread."""
        self._lent = None
        self._thread = threading.Thread(target=self._open, name="next-place", daemon=True)
        self._thread.start()

    def becomes(self, home: Home) -> Sequence[str] | None:
        """Let it be a trial's, unless that has one: of another rank, or from an earlier attempt.

        Returns what `home.entered` need not find out, where the project has all its files yet and no more.
        """
        self._wait()
        if self._lent is not None:  # what the last trial has there is not kept yet
            self.begin()
            return None
        with suppress(OSError):
            self._home.base.rename(home.base)
            self._lent = home.base
            return self._shows if self._folders and _overlay.still(self._folders) else None
        return None

    def keep(self, home: Home) -> None:
        """Keep what a trial has written; the rest is the next one's, as it was."""
        if self._lent != home.base:
            home.keep()
            return
        try:
            if not home.moved(self._laid.written(home.base)):
                return
            whole = self._laid.sweep(home.base)
            home.base.rename(self._home.base)
            self._lent = None
            if whole and _overlay.still(self._folders):
                self._laid = self._laid.settled(self._home.base)
            else:
                self._open()
        except OSError:
            _take_away(home.base)

    def drop(self) -> None:
        """Take it away: no trial comes."""
        self._wait()
        shutil.rmtree(self._home.base, ignore_errors=True)

    def _open(self) -> None:
        self._folders = {}
        with unheard(), suppress(OSError):  # what is missing is made, or told, when a trial comes
            self._folders = self._home.open()
            self._laid = _overlay.Laid.seen(self._home.base)
            self._shows = self._home.shows()

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
    for left in folder.glob(f"{_APART}*"):
        shutil.rmtree(left, ignore_errors=True)
    with suppress(OSError):  # others work there yet
        folder.rmdir()
