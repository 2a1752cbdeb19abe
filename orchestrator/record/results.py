"""`results.parquet` and `results.csv`: one row per cell of the plan, none ever missing."""

from __future__ import annotations

import io
import math
from typing import Any

from orchestrator.decide.states import TrialState
from orchestrator.record.history import CellRecord, History
from orchestrator.record.layout import StudyPaths
from orchestrator.record.storage import Storage
from orchestrator.study.cells import Plan

COLUMNS = (
    "cell",
    "arm",
    "seed",
    "phase",
    "sample",
    "state",
    "cause",
    "reason",
    "length",
    "value",
    "used",
    "wall_s",
    "gpu_s",
    "attempts",
    "trial_dir",
)
_TEXT = ("cell", "arm", "phase", "state", "cause", "reason", "trial_dir")
_INTEGER = ("seed", "sample", "attempts")


def results_table(plan: Plan, history: History, paths: StudyPaths) -> Any:
    """A `pyarrow.Table` with `COLUMNS`, rows in the plan's order.

    `length` in the study's unit, `value` in the user's units (null where there is none), `used`: enters the
    effects, `wall_s` and `gpu_s` in seconds, `trial_dir` relative to the study's directory.
    """
    import pyarrow as pa

    rows = [_row(history.cells[cell.cell], paths) for cell in plan.cells]
    kinds = {**dict.fromkeys(_TEXT, pa.string()), **dict.fromkeys(_INTEGER, pa.int64()), "used": pa.bool_()}
    schema = pa.schema([(name, kinds.get(name, pa.float64())) for name in COLUMNS])
    return pa.Table.from_pylist(rows, schema=schema)


def write_results(storage: Storage, paths: StudyPaths, table: Any) -> None:
    """Write both files, each atomically."""
    import pyarrow.csv as pc
    import pyarrow.parquet as pq

    parquet, text = io.BytesIO(), io.BytesIO()
    pq.write_table(table, parquet)
    pc.write_csv(table, text)
    storage.write_atomic(paths.results_parquet, parquet.getvalue())
    storage.write_atomic(paths.results_csv, text.getvalue())


def is_used(record: CellRecord) -> bool:
    """Whether a cell enters the effects: it ran to its full length and has a value."""
    return record.state is TrialState.DONE and record.value is not None and math.isfinite(record.value)


def _row(record: CellRecord, paths: StudyPaths) -> dict[str, Any]:
    folder = paths.trial_dir(record.arm, record.seed, record.sample, record.phase)
    finite = record.value is not None and math.isfinite(record.value)
    return {
        "cell": record.cell,
        "arm": record.arm,
        "seed": record.seed,
        "phase": record.phase,
        "sample": record.sample,
        "state": record.state.value,
        "cause": record.cause.value if record.cause else None,
        "reason": record.reason,
        "length": record.length,
        "value": record.value if finite else None,
        "used": is_used(record),
        "wall_s": record.wall_s,
        "gpu_s": record.gpu_s,
        "attempts": record.attempts,
        "trial_dir": folder.removeprefix(f"{paths.root}/"),
    }
