"""`results.parquet` and `results.csv`: one row per cell of the plan, none ever missing.

The columns are those of `TrialRecord`.
"""

from __future__ import annotations

import io
from types import UnionType
from typing import Any, get_args

from orchestrator.decide.agenda import used_cells
from orchestrator.record.layout import StudyPaths
from orchestrator.record.state import StudyState, columns
from orchestrator.record.storage import Storage
from orchestrator.study.spec import StudySpec

COLUMNS = tuple(column.name for _, column in columns())


def results_table(spec: StudySpec, state: StudyState) -> Any:
    """Put the results together: a `pyarrow.Table` with `COLUMNS`.

    Rows come in the plan's order, what later batches added at the end.
    """
    import pyarrow as pa

    used = used_cells(spec, state.plan, state.cells, state.families)
    arrays, kinds = [], []
    for field, column in columns():
        values = [getattr(record, field) for record in state.cells.values()]
        if field == "used":
            values = [cell in used for cell in state.cells]
        kind = _arrow_type(column.type)
        kinds.append((column.name, kind))
        arrays.append(pa.array([column.show(value) for value in values], kind))
    return pa.Table.from_arrays(arrays, schema=pa.schema(kinds))


def write_results(storage: Storage, paths: StudyPaths, table: Any) -> None:
    """Write both files, each atomically."""
    import pyarrow.csv as pc
    import pyarrow.parquet as pq

    parquet, text = io.BytesIO(), io.BytesIO()
    pq.write_table(table, parquet)
    pc.write_csv(table, text)
    storage.write_atomic(paths.results_parquet, parquet.getvalue())
    storage.write_atomic(paths.results_csv, text.getvalue())


def _arrow_type(annotation: Any) -> Any:
    """Text for words, states and lists of words."""
    import pyarrow as pa

    kinds = {int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
    plain = get_args(annotation)[0] if isinstance(annotation, UnionType) else annotation
    return kinds.get(plain, pa.string())
