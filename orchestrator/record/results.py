"""`results.parquet` and `results.csv`: one row per cell of the plan, none ever missing."""

from __future__ import annotations

import io
import math
from typing import Any

from orchestrator.decide.used import used_cells
from orchestrator.record.history import CellRecord, History
from orchestrator.record.layout import StudyPaths
from orchestrator.record.storage import Storage
from orchestrator.study.spec import StudySpec

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
    "device",
)
_TEXT = ("cell", "arm", "phase", "state", "cause", "reason", "trial_dir", "device")
_INTEGER = ("seed", "sample", "attempts")


def results_table(spec: StudySpec, history: History, paths: StudyPaths) -> Any:
    """A `pyarrow.Table` with `COLUMNS`, rows in the plan's order, what later batches added at the end.

    `length` in the study's unit, `value` in the user's units (null where there is none), `used`: enters the
    effects, `wall_s` and `gpu_s` in seconds, `trial_dir` relative to the study's directory, `device`: CPU or
    Ray's name of the GPU type, all of them where the run went on elsewhere (null before it has started).
    """
    import pyarrow as pa

    used = used_cells(spec, history.plan, history.cells, history.families)
    rows = [_row(record, paths, record.cell in used) for record in history.cells.values()]
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


def _row(record: CellRecord, paths: StudyPaths, used: bool) -> dict[str, Any]:
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
        "used": used,
        "wall_s": record.wall_s,
        "gpu_s": record.gpu_s,
        "attempts": record.attempts,
        "trial_dir": folder.removeprefix(f"{paths.root}/"),
        "device": ", ".join(record.devices) or None,
    }
