"""A table of results, one row per run, as arm -> seed -> value: checked, each fault named by its row."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.errors import Fault, InputError
from orchestrator.study.faults import nearest, show

Values = dict[str, dict[int, float | None]]
"""Arm -> seed -> value; None: a run without a finite one."""
MOST_ROWS, MOST_ARMS, MOST_SEEDS = 1_000_000, 500, 200
_MOST_TOLD = 20
_ROWS = "one row per run, with its arm, seed and metric"
_WHICH = "name it: --metric on the command line, metric= in Python"


class ResultsTable:
    """The columns of a table, whatever kind of table it is.

    Takes a pandas or Polars `DataFrame`, a `pyarrow.Table`, rows (mappings), or a mapping of columns.
    """

    def __init__(self, results: Any) -> None:
        if isinstance(results, Sequence) and all(isinstance(row, Mapping) for row in results):
            every = dict.fromkeys(name for row in results for name in row)
            results = {name: [row.get(name) for row in results] for name in every}
        if isinstance(results, Mapping):
            names = list(results)
        elif hasattr(results, "column_names") or hasattr(results, "columns"):
            names = list(getattr(results, "column_names", None) or results.columns)
        else:
            hint = "valid: a DataFrame, a pyarrow.Table, a list of rows as dicts, a dict of columns"
            raise InputError(Fault("is no table of results", value=type(results).__name__, hint=hint))
        twice = [name for name, count in Counter(map(str, names)).items() if count > 1]
        if twice:
            raise InputError(
                [Fault("is the name of several columns", field=name) for name in twice[:_MOST_TOLD]]
            )
        self._results = results
        self._keys = {str(name): name for name in names}

    @property
    def names(self) -> list[str]:
        """The names of the columns."""
        return list(self._keys)

    def column(self, name: str) -> list[Any]:
        """Return the cells of a column."""
        found = self._results[self._keys[name]]
        convert = getattr(found, "to_pylist", None) or getattr(found, "tolist", None)
        return list(found) if convert is None else list(convert())

    def check(self, names: Sequence[str]) -> None:
        """Raise an `InputError` with every column of these that is not there."""
        if not self._keys:
            raise InputError(Fault("there are no rows", hint=_ROWS))
        missing = [name for name in names if name not in self._keys]
        if missing:
            said = "there is no such column"
            raise InputError([Fault(said, field=name, hint=nearest(name, self._keys)) for name in missing])


def read_values(results: Any, arm: str, seed: str, metric: str | None) -> tuple[str, Values]:
    """Return the metric's name and its values, arms in the order of the table.

    Args:
        arm, seed, metric: names of the columns; a metric of None is the only further one with numbers.

    Raises:
        InputError: with all faults: columns that are not there, cells that cannot be, runs with two rows.
    """
    table = ResultsTable(results)
    table.check([name for name in (arm, seed, metric) if name is not None])
    rows = len(table.column(arm))
    if not 0 < rows <= MOST_ROWS:
        said = f"there are more than {MOST_ROWS:,} rows" if rows else "there are no rows"
        raise InputError(Fault(said, hint=_ROWS))
    names = (arm, seed, _only_metric(table, arm, seed) if metric is None else metric)
    columns = [table.column(name) for name in names]
    if any(len(column) != rows for column in columns):
        raise InputError(Fault("the columns are not of one length", value=str(list(map(len, columns)))))
    cells = _Cells(names)
    for number, row in enumerate(zip(*columns, strict=True), start=1):
        cells.add(number, *row)
    return names[2], cells.checked()


class _Cells:
    """Cells as they are read: values, the row of each, and what is wrong."""

    def __init__(self, names: tuple[str, str, str]) -> None:
        self._names = names
        self._values: Values = {}
        self._rows: dict[tuple[str, int], int] = {}
        self._faults: list[Fault] = []

    def add(self, row: int, arm: Any, seed: Any, value: Any) -> None:
        name = "" if arm is None or arm != arm else str(arm)  # NaN, in a DataFrame, is an empty cell
        number = _whole(seed)
        if not name.strip():
            self._wrong(row, 0, "is empty", None, "every row has the name of its arm")
        elif number is None:
            self._wrong(row, 1, "is no whole number", seed, "the seed of the run, such as 0")
        elif (name, number) in self._rows:
            also = f"{show(name)} has it in row {self._rows[name, number]} too; a run has one row"
            self._wrong(row, 1, "is there twice", seed, also)
        else:
            self._rows[name, number] = row
            try:
                self._values.setdefault(name, {})[number] = real(value)
            except ValueError:
                self._wrong(row, 2, "is no number", value, "a number, or empty where a run has none")

    def _wrong(self, row: int, column: int, message: str, value: Any, hint: str) -> None:
        got = None if value is None else show(value)
        self._faults.append(Fault(message, field=f"row {row}, {self._names[column]}", value=got, hint=hint))

    def checked(self) -> Values:
        """Return the values, or raise what is wrong."""
        seeds = {seed for by_seed in self._values.values() for seed in by_seed}
        sizes = (("arms", len(self._values), MOST_ARMS), ("seeds", len(seeds), MOST_SEEDS))
        many = [Fault(f"more than {most} {what}", value=f"{n:,}") for what, n, most in sizes if n > most]
        more = len(self._faults) - _MOST_TOLD
        rest = [Fault(f"and {more:,} more faults")] if more > 0 else []
        if self._faults or many:
            raise InputError([*self._faults[:_MOST_TOLD], *rest, *many])
        return self._values


def _whole(cell: Any) -> int | None:
    """Return a seed; pandas makes numbers with a point of a column that has gaps."""
    try:
        number = int(cell) if isinstance(cell, str) else cell
        return int(number) if number == int(number) and abs(number) < 1 << 63 else None
    except (TypeError, ValueError, OverflowError):
        return None


def real(cell: Any) -> float | None:
    """Return a value, None where there is no finite one; raises `ValueError` for what is no number."""
    if cell is None or (isinstance(cell, str) and not cell.strip()):
        return None
    try:
        value = float(cell)
    except TypeError as error:
        raise ValueError(str(error)) from None
    except OverflowError:
        return None
    return value if math.isfinite(value) else None


def _only_metric(table: ResultsTable, arm: str, seed: str) -> str:
    numeric = [name for name in table.names if name not in (arm, seed) and _has_numbers(table.column(name))]
    if len(numeric) == 1:
        return numeric[0]
    if not numeric:
        raise InputError(Fault("no column has numbers, so that there is no metric", hint=_WHICH))
    shown = ", ".join(numeric[:_MOST_TOLD])
    raise InputError(Fault("several columns could be the metric", value=shown[:1000], hint=_WHICH))


def _has_numbers(cells: Sequence[Any]) -> bool:
    """Whether the first cell that is not empty is a number: one that is none further down is told later."""
    try:
        return any(real(cell) is not None for cell in cells)
    except ValueError:
        return False
