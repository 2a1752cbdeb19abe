"""Where reports of a running command come from, each asked again and again while it runs."""

from __future__ import annotations

import json
import os
import re
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

from orchestrator.decide.probing import FEW
from orchestrator.engine.command._events import EventFileReader
from orchestrator.engine.command._growing import MOST_LINE, MOST_READ, GrowingFile, Lines
from orchestrator.engine.command._joining import LinesJoined, MetricsUnclear, ScalarsJoined, place
from orchestrator.engine.command._spoken import CsvRows, Objects, Row, Speech, patterns_of

MOST_TRIED = 10_000
"""Lines that are looked at for how the metric could be read from them."""
_OURS = re.compile(r"events\.out\.tfevents\.\d{10}\..*\.a\d+")
"""The record's own event files, in the trial's directory itself."""


class Reading(dict[str, Any]):
    """One report as it goes to the trial's record; `checkpoint`: the directory or file given with it,
    `scores`: the file with those of the samples.
    """

    checkpoint: Path | None = None
    scores: Path | None = None


class Source(Protocol):
    """One place that reports come from. `name`: in words; `seen`: names that it has, and how often;
    `content`: what is there, in words.
    """

    name: str
    seen: Counter[str]

    @property
    def content(self) -> str: ...

    def poll(self) -> list[Reading]:
        """Return the reports that are whole since the last call."""
        ...

    def close(self) -> list[Reading]:
        """Return the last ones, once the process has ended."""
        ...


class Stdout:
    """Lines that the command prints."""

    def __init__(self, speech: Speech, metric: str, name: str) -> None:
        self.name, self.seen = name, Counter[str]()
        self._speech, self._joined, self._metric = speech, LinesJoined(metric), metric
        self._reports: deque[Reading] = deque()
        self._lines = 0
        self._telling: str | None = None  # a line that has the metric in another form

    @property
    def content(self) -> str:
        return f"{self._lines} printed"

    @property
    def hint(self) -> str | None:
        """How the metric would be read from a line that was printed; None where none has it."""
        if self._telling is None or self.seen:
            return None
        patterns = ", ".join(f"'{one}'" for one in patterns_of(self._telling, self._metric))
        return (
            f"it printed {self._telling!r}, which is read with metrics: {{pattern: [{patterns}]}} in the "
            "entrypoint"
        )

    def line(self, text: str) -> None:
        """Take a line; from any thread, one at a time."""
        row = self._speech.row(text) if len(text) <= MOST_LINE else None
        self._lines += bool(text.strip())
        if (
            self._telling is None
            and not row
            and self._lines <= MOST_TRIED
            and patterns_of(text, self._metric)
        ):
            self._telling = text.strip()[:200]
        if row:
            _note(self.seen, row)
            if (report := self._joined.take(row)) is not None:
                self._reports.append(Reading(report))

    def poll(self) -> list[Reading]:
        return [self._reports.popleft() for _ in range(len(self._reports))]

    def close(self) -> list[Reading]:
        return self.poll()


class LogFiles:
    """JSON or CSV lines of the files below the trial's directory that have a name of this pattern."""

    def __init__(self, folder: Path, pattern: str, metric: str) -> None:
        self.name, self.seen = f"the file {pattern}", Counter[str]()
        self._folder, self._pattern, self._metric = folder, pattern, metric
        self._files = {path: LogFile(path, metric, path.stat().st_size) for path in self._there()}

    @property
    def content(self) -> str:
        names = [path.relative_to(self._folder).as_posix() for path in sorted(self._files)]
        return ", ".join(names[:5]) if names else "not there"

    def poll(self) -> list[Reading]:
        return list(self._read(last=False))

    def close(self) -> list[Reading]:
        return list(self._read(last=True))

    def _read(self, last: bool) -> Iterator[Reading]:
        for path in self._there():
            if path not in self._files:
                self._files[path] = LogFile(path, self._metric)
        for _, file in sorted(self._files.items()):
            rows = file.rest() if last else file.rows()
            yield from (Reading(row) for row in rows)
            self.seen |= file.seen  # the larger count of each name

    def elsewhere(self) -> str | None:
        """Return a file of that kind with the metric's name in it, which the command writes instead; None:
        there is no such file, or the one that is read is there.
        """
        if self._files:
            return None
        ends = Path(self._pattern).suffix
        for below, folders, names in os.walk(self._folder):  # not into links: they lead to the project
            folders[:] = [name for name in folders if not name.startswith(".")]
            for name in sorted(names):
                path = Path(below, name)
                if ends and path.suffix == ends and _has_lines(path, self._metric.rpartition("/")[2]):
                    return path.relative_to(self._folder).as_posix()
        return None

    def _there(self) -> list[Path]:
        return sorted(path for path in self._folder.glob(self._pattern) if path.is_file())


class LogFile:
    """One file of lines as it grows.

    A file that is begun again may say what it said before and go on from there, as one that is written anew
    with every epoch: rows at its beginning that were read before are no new ones.
    """

    def __init__(self, path: Path, metric: str, start: int = 0) -> None:
        self.seen = Counter[str]()
        self._file, self._lines = GrowingFile(path, start), Lines()
        self._metric, self._begun, self._at = metric, 0, 0
        self._known: list[tuple[Any, ...]] = []  # what the rows with the metric said
        self._again = False  # among those that were read before
        self._speech = self._begin()
        if start:  # an earlier attempt's: its names are still to be known
            self._speech.row(self._file.head(MOST_LINE).partition(b"\n")[0].decode("utf-8", "replace"))

    def rows(self) -> Iterator[Row]:
        """Yield the reports of the lines that are whole now."""
        while data := self._file.more():
            if self._file.begun != self._begun:
                self._begun, self._at, self._again = self._file.begun, 0, True
                self._lines.reset()
                self._speech = self._begin()
            for line in self._lines.feed(data):
                yield from self._of(line)
            if len(data) < MOST_READ:
                return

    def rest(self) -> Iterator[Row]:
        """Yield what is left once nobody writes any more, a last line without an end too."""
        yield from self.rows()
        for line in self._lines.last():
            yield from self._of(line)
        self._file.close()

    def _begin(self) -> Speech:
        self._joined = LinesJoined(self._metric)
        suffix = self._file.path.suffix.lower()
        return CsvRows("\t" if suffix == ".tsv" else None) if suffix in (".csv", ".tsv") else Objects()

    def _of(self, line: str) -> Iterator[Row]:
        row = self._speech.row(line)
        if not row:
            return
        _note(self.seen, row)
        report = self._joined.take(row)
        if report is None:
            return
        said = (*(report.get(place(report, unit) or "") for unit in ("epoch", "step")), report[self._metric])
        self._again = (
            self._again and self._at < len(self._known) and repr(self._known[self._at]) == repr(said)
        )
        self._at += 1
        if not self._again:
            self._known[self._at - 1 :] = [said]
            yield report


class EventFiles:
    """TensorBoard event files below a directory, new ones too; what was there before is not read.

    Args:
        epochs: the study counts in epochs, and what a first report without one has to look like is to be
            checked.
    """

    def __init__(
        self,
        folder: Path,
        metric: str,
        epochs: bool,
        check: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name, self.seen = "TensorBoard event files", Counter[str]()
        self._folder, self._metric, self._epochs, self._check = folder, metric, epochs, check
        self._clock, self._next = clock, 0.0
        self._files: dict[Path, tuple[EventFileReader, ScalarsJoined]] = {}
        self._from: Path | None = None  # the directory whose files have the metric
        for path in self._there():
            self._files[path] = self._opened(path, path.stat().st_size)

    @property
    def content(self) -> str:
        return f"{len(self._files)} found" if self._files else "none"

    def poll(self) -> list[Reading]:
        now = self._clock()
        if now >= self._next:
            self._look()
            self._next = now + max(0.5, 20 * (self._clock() - now))  # a large tree costs 5 % at most
        return list(self._read())

    def close(self) -> list[Reading]:
        self._look()
        found = list(self._read())
        for path, (reader, joined) in sorted(self._files.items()):
            found += [self._reading(path, row) for row in joined.turn()]
            reader.close()
        return found

    def _look(self) -> None:
        for path in self._there():
            if path not in self._files:
                self._files[path] = self._opened(path)

    def _read(self) -> Iterator[Reading]:
        for path, (reader, joined) in sorted(self._files.items()):
            for point in reader.more():
                _note(self.seen, (point.tag,))
                for row in joined.take(point):
                    yield self._reading(path, row)

    def _opened(self, path: Path, start: int = 0) -> tuple[EventFileReader, ScalarsJoined]:
        below = path.parent.relative_to(self._folder).as_posix()
        ends = f"/{self._metric}"

        def named(tag: str) -> bool:
            return tag == self._metric or f"/{below}/{tag}".endswith(ends)

        return EventFileReader(path, start), ScalarsJoined(self._metric, named)

    def _reading(self, path: Path, row: Row) -> Reading:
        if self._from not in (None, path.parent):
            places = [one.relative_to(self._folder).as_posix() for one in (self._from, path.parent) if one]
            raise MetricsUnclear(
                f"{self._metric!r} is in event files of two directories, {' and '.join(places)}; name the "
                f"one that counts: metric.name: {places[-1].rpartition('/')[2]}/{self._metric}, or "
                "metrics: {tensorboard: DIRECTORY} in the entrypoint"
            )
        self._from = path.parent
        if self._epochs and place(row, "epoch") is None:
            self._as_epoch(row)
        self._check = False
        return Reading(row)

    def _as_epoch(self, row: Row) -> None:
        """Take the step for the epoch where no epoch is written: most loops give the epoch as the step."""
        step = row["step"]
        if self._check and step > 1:
            raise MetricsUnclear(
                f"the event file has {self._metric!r} at step {step} and no 'epoch', and the study counts in "
                "epochs. Count in steps (stopping: {unit: step, max: ...}) or in reports (unit: report), or "
                f"write a scalar 'epoch' with it; if {step} is an epoch, say metrics: {{counts_from: 1}}"
            )
        row["epoch"] = step

    def _there(self) -> list[Path]:
        found = []
        for below, _, names in os.walk(self._folder):  # not into links: they lead to the project
            for name in names:
                if "tfevents" in name and not (below == str(self._folder) and _OURS.fullmatch(name)):
                    path = Path(below, name)
                    if path.is_file() and not path.is_symlink():
                        found.append(path)
        return sorted(found)


class Called:
    """What `orchestrator.report` was called with, a JSON object a line."""

    name, content = "orchestrator.report", "not called"

    def __init__(self, path: Path) -> None:
        self.seen = Counter[str]()
        self._file, self._lines = GrowingFile(path, path.stat().st_size if path.exists() else 0), Lines()

    def poll(self) -> list[Reading]:
        found = []
        while data := self._file.more():
            found += [_called(line) for line in self._lines.feed(data)]
        return found

    def close(self) -> list[Reading]:
        found = self.poll()
        self._file.close()
        return found


def _called(line: str) -> Reading:
    said = json.loads(line)
    reading = Reading(said["metrics"])
    reading.checkpoint, reading.scores = (
        Path(said[name]) if said.get(name) else None for name in ("checkpoint", "scores")
    )
    return reading


def _has_lines(path: Path, word: str) -> bool:
    """Whether a file, and no link to one of the project, has a few lines and this word."""
    try:
        with path.open("rb") as file:
            text = b"" if path.is_symlink() else file.read(MOST_LINE)
    except OSError:
        return False
    return text.count(b"\n") >= FEW and word.encode() in text


def _note(seen: Counter[str], names: Iterable[str]) -> None:
    """Count names, of a hundred different ones at most."""
    seen.update(name for name in names if name in seen or len(seen) < 100)
