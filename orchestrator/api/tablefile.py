"""Tables of results in files that somebody else has made: CSV and Parquet, limited in every direction."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import Fault, InputError
from orchestrator.stats.table import MOST_ROWS, ResultsTable

if TYPE_CHECKING:
    import pyarrow as pa

MOST_BYTES = 64 << 20
_MOST_COLUMNS = 10_000
_HINT = "a CSV file with a line of names, or Parquet: one row per run, with its arm, seed and metric"


def read_table(path: Path, where: Sequence[str] = ()) -> pa.Table:
    """Return the table in a file; `where`: only rows in which this column is that, `"phase=fixed"`.

    Raises:
        InputError: the file is not there, empty, too large or something else, or a column is not there.
    """
    data = _bytes(path)
    try:
        table = _parquet(data) if data.startswith(b"PAR1") else _csv(data)
    except (ValueError, OSError, NotImplementedError) as error:  # pyarrow's faults are among them
        said = f"is neither CSV nor Parquet: {' '.join(str(error).split())[:200]}"
        raise InputError(Fault(said, file=str(path), hint=_HINT)) from None
    for condition in where:
        table = _chosen(table, condition)
    return table


def _bytes(path: Path) -> bytes:
    try:
        if not path.is_file():
            said = "is no file" if path.exists() else "there is no such file"
            raise InputError(Fault(said, file=str(path), hint=_HINT))
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        raise InputError(Fault(f"cannot be read: {error}", file=str(path))) from None
    if len(data) > MOST_BYTES:
        hint = "leave the rows of this comparison, and the columns arm, seed and metric"
        raise InputError(Fault(f"is larger than {MOST_BYTES >> 20} MiB", file=str(path), hint=hint))
    if not data.strip():
        raise InputError(Fault("is empty", file=str(path), hint=_HINT))
    return data


def _csv(data: bytes) -> pa.Table:
    import pyarrow as pa
    import pyarrow.csv as pc

    head = data.lstrip().partition(b"\n")[0]
    if b"\0" in data or max(head.count(sign) for sign in b",;\t") > _MOST_COLUMNS:
        raise ValueError("zero bytes" if b"\0" in data else "more columns than a table of results has")
    data.decode()  # pyarrow would take a column that is no text for binary data
    delimiter = max(",;\t", key=lambda sign: head.count(sign.encode()))
    return pc.read_csv(pa.BufferReader(data), parse_options=pc.ParseOptions(delimiter=delimiter))


def _parquet(data: bytes) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = pq.ParquetFile(pa.BufferReader(data))
    if file.metadata.num_rows > MOST_ROWS or file.metadata.num_columns > _MOST_COLUMNS:
        raise ValueError("more rows or columns than a table of results has")
    return file.read()


def _chosen(table: pa.Table, condition: str) -> pa.Table:
    import pyarrow as pa

    name, sign, value = condition.partition("=")
    if not sign:
        hint = "write COLUMN=VALUE, such as phase=fixed"
        raise InputError(Fault("is no condition", field="--where", value=condition, hint=hint))
    columns = ResultsTable(table)
    columns.check([name])
    chosen = table.filter(
        pa.array([cell is not None and str(cell) == value for cell in columns.column(name)])
    )
    if not chosen.num_rows:
        raise InputError(Fault("no row is left", field="--where", value=condition))
    return chosen
