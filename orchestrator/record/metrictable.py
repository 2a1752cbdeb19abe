"""Metric rows as JSON lines while a trial runs, as one Parquet table when it is over.

Each attempt has files of its own (`record.attempts` says why): a later one begins with a copy of the rows up
to where it resumes. `metrics.parquet` itself is the first attempt's, or a copy of the last one's.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from orchestrator.record.attempts import owner_of
from orchestrator.record.jsonlines import from_json, to_json
from orchestrator.record.layout import TablePaths, TrialPaths
from orchestrator.record.reading import telling
from orchestrator.record.storage import Storage

REPORT_COLUMNS = ("report", "step", "epoch", "time_s", "attempt")


@dataclass(frozen=True)
class Table:
    """`key`: the column by which an attempt goes back to its checkpoint; `columns`: those that come first."""

    name: str
    key: str
    columns: tuple[str, ...]


REPORTS = Table("metrics", "report", REPORT_COLUMNS)
STEPS = Table("steps", "step", ("step",))
OBSERVATIONS = Table("observations", "step", ("step", "monitor"))
TABLES = (REPORTS, STEPS, OBSERVATIONS)
_FILES = re.compile(
    rf"(?:scores|{'|'.join(t.name for t in TABLES)})(?:\.a(\d+))?\.(?:jsonl(?:\.\d{{5,}})?|parquet)"
)
MOST_OF_A_LINE = 4 << 20
MOST_VALUES = 10_000_000
MOST_UNPACKED = 256 << 20
_INTEGERS = ("report", "step", "attempt")


def read_metrics(storage: Storage, trial: TrialPaths) -> list[dict[str, Any]]:
    """Return the rows of a trial, running or over: one per report. Metrics that a row does not have are left
    out.
    """
    rows = read_table(storage, trial, REPORTS)
    return [{**dict.fromkeys(REPORT_COLUMNS), **row} for row in rows]


def read_table(storage: Storage, trial: TrialPaths, table: Table) -> list[dict[str, Any]]:
    """Return the rows of the attempt that has the trial now."""
    return read_rows(storage, trial.table(table.name, owner_of(storage, trial).attempt))


def read_rows(storage: Storage, files: TablePaths) -> list[dict[str, Any]]:
    """Rows from the table, or from the lines while there is none.

    After a crash both may exist: the table, written before the lines go and removed after they are back, is
    complete then.
    """
    data = _read_if_there(storage, files.parquet)
    if data is None:
        rows = _decode(storage.read_lines(files.jsonl))
        data = None if rows else _read_if_there(storage, files.parquet)  # closed while we looked
        if data is None:
            return rows
    with telling(storage, files.parquet):
        return list(_rows_of(data))


class TableTail:
    """Reads the table of a trial that runs again and again: each time the rows that are new."""

    def __init__(self) -> None:
        self._attempt = 0
        self._read: dict[str, int] = {}

    def read(self, storage: Storage, trial: TrialPaths, table: Table) -> tuple[list[dict[str, Any]], bool]:
        """Return rows, and whether they go on from those of the last time, or are all there are."""
        attempt = owner_of(storage, trial).attempt
        files = trial.table(table.name, attempt)
        found = {path: storage.look_up(path) for path in storage.grown(files.jsonl)}
        sizes = {path: entry.size for path, entry in found.items() if entry is not None}
        goes_on = attempt == self._attempt and all(sizes.get(path, -1) >= n for path, n in self._read.items())
        self._attempt = attempt
        if not goes_on:
            self._read = {}
        try:
            rows = [row for path, size in sizes.items() for row in self._rest(storage, path, size)]
        except FileNotFoundError:  # closed while we looked
            sizes = {}
        if sizes:
            return rows, goes_on
        self._read = {}
        return read_rows(storage, files), False

    def _rest(self, storage: Storage, path: str, size: int) -> list[dict[str, Any]]:
        start = self._read.get(path, 0)
        data = storage.read_bytes(path, start=start) if size > start else b""
        whole = data[: data.rfind(b"\n") + 1]
        self._read[path] = start + len(whole)
        return _decode(whole.split(b"\n")[:-1])


def _rows_of(data: bytes) -> Iterator[dict[str, Any]]:
    """Yield the rows of a Parquet file; raises `ValueError` when it is none, or unpacks to too much."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(io.BytesIO(data)) as file:
            found = file.metadata
            unpacked = sum(found.row_group(n).total_byte_size for n in range(found.num_row_groups))
            if found.num_rows * found.num_columns > MOST_VALUES or unpacked > MOST_UNPACKED:
                raise ValueError(f"a table of more than {MOST_VALUES:,} values")
            for batch in file.iter_batches():
                for row in batch.to_pylist():
                    yield {key: value for key, value in row.items() if value is not None}
    except (pa.ArrowException, OSError, UnicodeDecodeError, OverflowError) as error:
        raise ValueError(f"not a Parquet table ({' '.join(str(error).split())})") from error


def carry_over(
    storage: Storage, trial: TrialPaths, table: Table, before: int, attempt: int, limit: int
) -> list[dict[str, Any]]:
    """Begin an attempt's table with the rows of attempt `before` with `row[key] <= limit`. Returns them."""
    own = trial.table(table.name, attempt)
    if before == attempt:
        return rewind(storage, own, table, limit)
    rows = read_rows(storage, trial.table(table.name, before))
    kept = [row for row in rows if _at(row, table) <= limit]
    storage.delete_grown(own.jsonl)  # of a start that did not get as far as taking over
    if kept:
        storage.write_atomic(own.jsonl, _encode(kept))
    return kept


def publish(storage: Storage, trial: TrialPaths, attempt: int) -> None:
    """Copy what a later attempt has closed to `metrics.parquet`, ..., where programs look for it."""
    if attempt == 1:
        return
    remove_older(storage, trial, attempt)
    closed = [(trial.table(t.name, attempt).parquet, trial.table(t.name).parquet) for t in TABLES]
    for own, published in [*closed, (trial.scores(attempt), trial.scores())]:
        data = _read_if_there(storage, own)
        if data is not None:
            storage.write_atomic(published, data)


def remove_older(storage: Storage, trial: TrialPaths, attempt: int) -> None:
    """Remove the tables and scores of the attempts before this one, and what they have written since."""
    for entry in storage.list(trial.root):
        found = _FILES.fullmatch(entry.name)
        if found and int(found.group(1) or 1) < attempt:
            storage.delete_file(f"{trial.root}/{entry.name}")


def rewind(storage: Storage, files: TablePaths, table: Table, limit: int) -> list[dict[str, Any]]:
    """Go back to a checkpoint: only rows with `row[table.key] <= limit` stay, as lines. Returns them.

    A table from an earlier `close_table` becomes lines again. Lines are cut from the end, so that a crash in
    between leaves rows that the next call removes, never a gap.
    """
    if storage.exists(files.parquet):
        rows = [{**dict.fromkeys(table.columns), **row} for row in read_rows(storage, files)]
        storage.delete_grown(files.jsonl)
        storage.write_atomic(files.jsonl, _encode(rows))
        storage.delete_file(files.parquet)
    kept: list[dict[str, Any]] = []
    for part in reversed(storage.grown(files.jsonl)):
        data = storage.read_bytes(part, written_once=True)
        rows = [row for row in _decode(data.split(b"\n")[:-1]) if _at(row, table) <= limit]
        if not rows:
            storage.delete_file(part)
        elif _encode(rows) != data:
            storage.write_atomic(part, _encode(rows))
        kept = [*rows, *kept]
    return kept


def close_table(storage: Storage, files: TablePaths, columns: Sequence[str]) -> bool:
    """Turn the lines into a table and remove them; False when there are none (any more)."""
    if not storage.grown(files.jsonl):
        return False
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    pq.write_table(to_table(_decode(storage.read_lines(files.jsonl)), columns), sink)
    storage.write_atomic(files.parquet, sink.getvalue())
    storage.delete_grown(files.jsonl)
    return True


def to_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> Any:
    """Return a `pyarrow.Table`: `columns` first, then the metrics in order of appearance; gaps are null."""
    import pyarrow as pa

    names = list(dict.fromkeys([*columns, *(key for row in rows for key in row)]))
    return pa.table({name: _column(name, [row.get(name) for row in rows]) for name in names})


def _read_if_there(storage: Storage, path: str) -> bytes | None:
    try:
        return storage.read_bytes(path)
    except FileNotFoundError:
        return None


def _column(name: str, values: list[Any]) -> Any:
    import pyarrow as pa

    kinds = {type(value) for value in values if value is not None}
    if kinds == {bool}:
        return pa.array(values, pa.bool_())
    if (kinds == {int} and all(v is None or abs(v) < 2**63 for v in values)) or (
        not kinds and name in _INTEGERS
    ):
        return pa.array(values, pa.int64())
    if kinds <= {int, float, bool}:
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    return pa.array([None if value is None else str(value) for value in values], pa.string())


def _decode(lines: Iterable[bytes]) -> list[dict[str, Any]]:
    rows = []
    for line in lines:
        with suppress(ValueError):  # damaged by a crash of the machine; its neighbours are good
            row = from_json(line) if len(line) <= MOST_OF_A_LINE else None
            if isinstance(row, dict):
                rows.append(row)
    return rows


def _at(row: Mapping[str, Any], table: Table) -> float:
    """Return where in the trial a row was written; the beginning where it does not say so."""
    at = row.get(table.key)
    return at if isinstance(at, int | float) else 0


def _encode(rows: Iterable[Mapping[str, Any]]) -> bytes:
    return b"".join(to_json(row) + b"\n" for row in rows)
