"""What one trial measures: rows, scalars, observations, TensorBoard; written off the training path.

The calls only queue what they get; a thread encodes and writes it about once a second, `flush` at once.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from orchestrator.errors import StorageUnavailable
from orchestrator.record.attempts import owner_of, refuse_superseded, take_over
from orchestrator.record.jsonlines import to_json
from orchestrator.record.layout import TrialPaths
from orchestrator.record.loggers import FileLogger, Logger
from orchestrator.record.metrictable import (
    OBSERVATIONS,
    REPORT_COLUMNS,
    REPORTS,
    STEPS,
    TABLES,
    Table,
    carry_over,
    close_table,
    publish,
    remove_older,
)
from orchestrator.record.scores import Scores, write_scores
from orchestrator.record.storage import Appender, Storage
from orchestrator.record.storagefaults import StorageFaultKind
from orchestrator.record.tensorboard import as_float
from orchestrator.record.trackers.process import Trackers
from orchestrator.study.names import LOGGERS

log = logging.getLogger(__name__)

WRITE_EVERY_S = 1.0
PUT_EVERY_S = 30.0  # each put to an object store makes a new segment
_PLAIN = (int, float, str, bool, type(None))


class ResumePoint(NamedTuple):
    """Where an attempt continues: index of the last report, the step that its checkpoint holds, its name."""

    report: int
    step: int
    checkpoint: str | None = None


class TrialLog:
    """The log of one attempt, used by rank 0 on its worker.

    Of the `loggers` those that write files run here; the scalars go to `trackers`, too. `adopted`: the
    checkpoints of earlier attempts that it takes over. Without a resume point, or with one, what earlier
    attempts wrote beyond it is dropped from the tables and hidden from TensorBoard. What the thread could not
    write is raised by the next `flush`.

    Raises `Superseded`, here and in `finish`, when a later attempt has taken the trial over, and
    `StorageUnavailable` when an earlier one has done so since the resume point was chosen, without its
    checkpoint: the curves to go on from are that one's.
    """

    def __init__(
        self,
        storage: Storage,
        trial: TrialPaths,
        attempt: int = 1,
        resume: ResumePoint | None = None,
        *,
        adopted: Sequence[str] = (),
        loggers: Sequence[str] = ("tensorboard",),
        trackers: Trackers | None = None,
    ) -> None:
        self._storage, self._trial, self._attempt = storage, trial, attempt
        keep = resume or ResumePoint(report=0, step=-1)
        self._earlier = _take_over(storage, trial, attempt, keep, adopted)
        self._tables = {table: self._appender(table) for table in (REPORTS, STEPS)}
        self._files: list[FileLogger] = [
            kind(storage, trial.root, attempt, purge_step=keep.step + 1)
            for kind in map(LOGGERS.get, loggers)
            if issubclass(kind, FileLogger)
        ]
        self._loggers: Sequence[Logger | Trackers] = (*self._files, trackers or Trackers(()))
        self._last_step = max(keep.step, 0)
        self._queue: deque[tuple[Any, ...]] = deque()
        self._lines: dict[Table, list[bytes]] = {table: [] for table in TABLES}  # encoded, not yet written
        self._writing = threading.Lock()
        self._wake = threading.Event()
        self._closed = False
        self._error: Exception | None = None
        self._told = False
        self._thread = threading.Thread(target=self._write_regularly, name="trial-log", daemon=True)
        self._thread.start()

    # -- what the training path calls ----------------------------------------------------------------------

    def report(self, row: Mapping[str, Any]) -> None:
        """One report: `report, step, epoch, time_s, attempt` and flat metrics (numbers, text or bools)."""
        plain = {key: _plain(value) for key, value in row.items()}
        self._queue.append((self._write_report, time.time(), plain))

    def scalars(self, values: Mapping[str, Any], step: int) -> None:
        """Scalars of one step. Tensors are read later, off the training path: do not change them in place."""
        detached = {k: v.detach() if hasattr(v, "detach") else v for k, v in values.items()}
        self._queue.append((self._write_scalars, time.time(), detached, step))

    def text(self, tag: str, text: str, step: int = 0) -> None:
        """Markdown text for TensorBoard."""
        self._queue.append((self._to_files, time.time(), "text", tag, text, step))

    def image(self, tag: str, image: Any, step: int) -> None:
        """Write a picture [H, W, 1 | 3] uint8 for TensorBoard, or a function that draws it, called off this
        path.
        """
        self._queue.append((self._to_files, time.time(), "image", tag, image, step))

    def histogram(self, tag: str, values: Any, step: int) -> None:
        """Write the distribution of `values`, an array of numbers [N]; finite ones only."""
        self._queue.append((self._to_files, time.time(), "histogram", tag, values, step))

    def pr_curve(self, tag: str, counts: Mapping[str, Any], step: int) -> None:
        """Write a PR curve: arrays `tp`, `fp`, `tn`, `fn` at rising thresholds, [T ≤ 127] each."""
        self._queue.append((self._to_files, time.time(), "pr_curve", tag, counts, step))

    def observe(self, monitor: str, rows: Sequence[Mapping[str, Any]], step: int) -> None:
        """Rows of plain values that a monitor saw at a step, for `observations.parquet`."""
        self._queue.append((self._write_observations, monitor, [dict(row) for row in rows], step))

    def began(self, config: Mapping[str, Any], metrics: Sequence[str]) -> None:
        """Write the trial's row in the HParams tab: its config, and a column `final/<metric>` for each."""
        self._queue.append((self._to_files, time.time(), "began", dict(config), tuple(metrics)))

    def ended(self, finals: Mapping[str, float], *, success: bool) -> None:
        """Write the values in these columns, and how the trial ended."""
        self._queue.append((self._write_end, time.time(), dict(finals), success))

    def earlier(self) -> list[dict[str, Any]]:
        """Return the reports of earlier attempts that this one goes on from, oldest first; once."""
        rows, self._earlier = self._earlier, []
        return rows

    def flush(self) -> None:
        """Everything so far is on the storage when this returns; called before every checkpoint manifest."""
        with self._writing:
            self._drain()
            self._sync()
        self._raise_error()

    def close(self) -> None:
        """Flush and stop; the lines stay, so that a later attempt can continue them. Twice is fine."""
        if self._closed:
            return
        self._closed = True
        self._wake.set()
        self._thread.join()
        try:
            self.flush()
        finally:
            for target in self._targets():
                target.close()

    def finish(self, scores: Scores | None = None) -> None:
        """Close, and turn the lines into `metrics.parquet`, `steps.parquet` and `observations.parquet`; write
        the scores of the samples, where there are some.
        """
        self.close()
        refuse_superseded(self._storage, self._trial, self._attempt)
        if scores is not None:
            write_scores(self._storage, self._trial, scores, self._attempt)
        for table in (OBSERVATIONS, REPORTS, STEPS):
            close_table(self._storage, self._trial.table(table.name, self._attempt), table.columns)
        publish(self._storage, self._trial, self._attempt)

    # -- what the thread does ------------------------------------------------------------------------------

    def _write_regularly(self) -> None:
        last_put = time.monotonic()
        while not self._wake.wait(WRITE_EVERY_S):
            try:
                with self._writing:
                    self._drain()
                    if not self._storage.is_local and time.monotonic() - last_put > PUT_EVERY_S:
                        last_put = time.monotonic()
                        self._sync()
            except StorageUnavailable as error:
                if not self._told:  # nothing is lost: all of it is kept for the next turn, or the flush
                    self._told = True
                    log.warning("the trial's curves wait for their storage: %s", error)
            except Exception as error:  # the next flush raises it
                self._error = error

    def _drain(self) -> None:
        while True:
            try:
                write, *args = self._queue.popleft()
            except IndexError:
                break
            write(*args)
        for table, encoded in self._lines.items():
            if encoded:
                if table not in self._tables:  # most trials without monitors never need it
                    self._tables[table] = self._appender(table)
                self._tables[table].append(encoded)
                encoded.clear()
        for file in self._files:
            file.write()

    def _sync(self) -> None:
        for target in self._targets():
            target.sync()

    def _targets(self) -> list[Appender | FileLogger]:
        return [*self._tables.values(), *self._files]

    def _appender(self, table: Table) -> Appender:
        return self._storage.appender(self._trial.table(table.name, self._attempt).jsonl)

    def _raise_error(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _write_report(self, now: float, row: dict[str, Any]) -> None:
        self._lines[REPORTS].append(to_json(row))
        step = row.get("step")
        self._last_step = step = self._last_step if step is None else int(step)
        self._points({key: value for key, value in row.items() if key not in REPORT_COLUMNS}, step, now)
        if row.get("epoch") is not None:
            self._points({"epoch": row["epoch"]}, step, now)

    def _write_scalars(self, now: float, values: Mapping[str, Any], step: int) -> None:
        plain = {key: _plain(value) for key, value in values.items()}
        self._lines[STEPS].append(to_json({"step": step, **plain}))
        self._last_step = max(self._last_step, step)
        self._points(plain, step, now)

    def _to_files(self, now: float, what: str, *said: Any) -> None:
        for file in self._files:
            getattr(file, what)(*said, now)

    def _write_end(self, now: float, finals: dict[str, float], success: bool) -> None:
        self._to_files(now, "ended", finals, self._last_step, success)

    def _write_observations(self, monitor: str, rows: list[dict[str, Any]], step: int) -> None:
        for row in rows:
            plain = {key: _plain(value) for key, value in row.items()}
            self._lines[OBSERVATIONS].append(to_json({"step": step, "monitor": monitor, **plain}))

    def _points(self, values: Mapping[str, Any], step: int, now: float) -> None:
        points = {tag: number for tag, value in values.items() if (number := as_float(value)) is not None}
        for logger in self._loggers if points else ():
            logger.scalars(points, step, now)


def _take_over(
    storage: Storage, trial: TrialPaths, attempt: int, keep: ResumePoint, adopted: Sequence[str]
) -> list[dict[str, Any]]:
    """Copy what stays, then say that the trial is this attempt's; returns the reports that stay."""
    limits = {"report": keep.report, "step": keep.step}
    while True:
        refuse_superseded(storage, trial, attempt)
        owner = owner_of(storage, trial)
        before = owner.attempt
        if keep.checkpoint is not None and not owner.has(keep.checkpoint):
            raise StorageUnavailable(
                f"attempt {before} has taken over {trial.root} without {keep.checkpoint}, from which"
                f" attempt {attempt} goes on; the next attempt goes on from what it finds",
                StorageFaultKind.UNAVAILABLE,
            )
        rows, *_ = [carry_over(storage, trial, table, before, attempt, limits[table.key]) for table in TABLES]
        if owner_of(storage, trial).attempt == before:  # else its tables may have gone while we read
            break
    take_over(storage, trial, attempt, adopted)
    remove_older(storage, trial, attempt)
    return rows


def _plain(value: Any) -> Any:
    return value if type(value) in _PLAIN else _item(value)


def _item(value: Any) -> Any:
    """Return a numpy or torch scalar as a Python number; anything else as text."""
    if hasattr(value, "item"):
        with contextlib.suppress(ValueError, RuntimeError):  # more than one element
            item = value.item()
            return item if type(item) in _PLAIN else str(item)
    return float(value) if hasattr(value, "__float__") else str(value)
