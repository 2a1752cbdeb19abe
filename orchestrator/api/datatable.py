"""Tables for Python: Arrow inside, pandas or Polars outside, HTML in a notebook."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.errors import Fault, InputError
from orchestrator.reporting import fragments, plain

if TYPE_CHECKING:
    import pandas as pd  # type: ignore[import-untyped]  # of the extra [pandas]
    import pyarrow as pa

SHOWN_ROWS = 20
"""Rows that a notebook shows; all of them are in the table."""


@dataclass(frozen=True)
class DataTable:
    """A table. `arrow` is a `pyarrow.Table`; what reads Arrow (Polars, DuckDB) takes the object itself."""

    arrow: pa.Table

    def to_pandas(self) -> pd.DataFrame:
        """Return a `pandas.DataFrame` with the same columns.

        Raises:
            InputError: pandas is not installed.
        """
        if importlib.util.find_spec("pandas") is None:
            hint = "pip install 'orchestrator[pandas]', or read .arrow or .rows()"
            raise InputError(Fault("pandas is not installed", hint=hint))
        return self.arrow.to_pandas()

    def rows(self) -> list[dict[str, Any]]:
        """One dict per row; None where there is nothing."""
        found: list[dict[str, Any]] = self.arrow.to_pylist()
        return found

    @property
    def columns(self) -> list[str]:
        """The names of the columns."""
        return list(self.arrow.column_names)

    def __len__(self) -> int:
        return int(self.arrow.num_rows)

    def __getitem__(self, column: str) -> list[Any]:
        """Return the values of one column; KeyError when there is none of that name."""
        values: list[Any] = self.arrow[column].to_pylist()
        return values

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Return the Arrow PyCapsule interface."""
        return self.arrow.__arrow_c_stream__(requested_schema)

    def __repr__(self) -> str:
        return f"DataTable({len(self)} rows: {', '.join(self.columns)})"

    def _repr_html_(self) -> str:
        right = [number for number, field in enumerate(self.arrow.schema) if _is_number(field.type)]
        shown = self.arrow.slice(0, SHOWN_ROWS).to_pylist()
        rows = [[_text(value) for value in row.values()] for row in shown]
        more = len(self) - len(shown)
        below = [fragments.line(f"and {more} more rows", quiet=True)] if more else []
        return fragments.block(fragments.table(self.columns, rows, right), *below)


def table_of(rows: list[dict[str, Any]], schema: dict[str, str]) -> DataTable:
    """Return a table of plain rows. `schema`: column -> `text`, `number`, `integer`, `truth` or `texts` (a
    list).
    """
    import pyarrow as pa

    kinds = {
        "text": pa.string(),
        "number": pa.float64(),
        "integer": pa.int64(),
        "truth": pa.bool_(),
        "texts": pa.list_(pa.string()),
    }
    return DataTable(
        pa.Table.from_pylist(rows, schema=pa.schema([(name, kinds[kind]) for name, kind in schema.items()]))
    )


def _is_number(kind: pa.DataType) -> bool:
    import pyarrow.types as is_

    return bool(is_.is_integer(kind) or is_.is_floating(kind))


def _text(value: Any) -> str:
    if value is None or isinstance(value, float):
        return plain.number(value)
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
