"""`scores.parquet` of a trial: the score of every sample in the validation that counts.

Columns `id` (whole numbers, or texts) and `score`, sorted by id; written once, when the trial has ended.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.record.attempts import owner_of
from orchestrator.record.layout import TrialPaths
from orchestrator.record.reading import telling
from orchestrator.record.storage import Storage

MOST_SCORES = 10_000_000
MOST_ID = 200
MOST_UNPACKED = 512 << 20
_COLUMNS = ("id", "score")


@dataclass(frozen=True)
class Scores:
    """One finite score for each sample; `ids` are sorted and unique, int64 or texts."""

    ids: NDArray[Any]
    values: NDArray[np.float64]

    @property
    def mean(self) -> float:
        """What the trial should have reported."""
        return float(self.values.mean())


def as_scores(ids: Iterable[Any], scores: Iterable[Any]) -> Scores:
    """Return the scores, sorted by id; lists, arrays and tensors will do.

    Raises:
        ValueError: what is wrong, and what is valid.
    """
    found, values = _ids(_array(ids, "ids")), _numbers(_array(scores, "scores"))
    if found.shape != values.shape:
        raise ValueError(f"{len(found):,} ids and {len(values):,} scores; give one score for each id")
    order = np.argsort(found, kind="stable")
    found, values = found[order], values[order]
    twice = np.flatnonzero(found[1:] == found[:-1])
    if twice.size:
        some = ", ".join(repr(one) for one in np.unique(found[twice])[:3].tolist())
        raise ValueError(
            f"{twice.size:,} ids are there more than once, such as {some}; give each sample its own"
        )
    return Scores(found, values)


def write_scores(storage: Storage, trial: TrialPaths, scores: Scores, attempt: int = 1) -> None:
    """Write an attempt's file; `metrictable.publish` copies that of a later one."""
    storage.write_atomic(trial.scores(attempt), packed(scores))


def read_scores(storage: Storage, trial: TrialPaths) -> Scores | None:
    """Return the scores of a trial; None where it has none. Raises `UnreadableRecord`."""
    path = trial.scores(owner_of(storage, trial).attempt)
    try:
        data = storage.read_bytes(path)
    except FileNotFoundError:
        return None
    with telling(storage, path):
        return unpacked(data)


def packed(scores: Scores) -> bytes:
    """Return them as a Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    pq.write_table(pa.table({"id": scores.ids, "score": scores.values}), sink)
    return sink.getvalue()


def unpacked(data: bytes) -> Scores:
    """Return what a Parquet file of scores says; raises `ValueError` when it is none, or too large."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(io.BytesIO(data)) as file:
            about = file.metadata
            size = sum(about.row_group(n).total_byte_size for n in range(about.num_row_groups))
            if about.num_rows > MOST_SCORES or size > MOST_UNPACKED:
                raise ValueError(f"more than {MOST_SCORES:,} scores")
            if tuple(file.schema_arrow.names) != _COLUMNS:
                raise ValueError(f"not the columns {' and '.join(_COLUMNS)}")
            ids, scores = file.read().columns
            if ids.null_count or scores.null_count:
                raise ValueError("an id or a score is missing")
            if pa.types.is_dictionary(ids.type):
                ids = ids.cast(ids.type.value_type)
            return as_scores(ids.to_numpy(), scores.to_numpy())
    except (pa.ArrowException, OSError, UnicodeDecodeError, OverflowError, TypeError, MemoryError) as error:
        raise ValueError(f"not a Parquet table of scores ({' '.join(str(error).split())})") from error


def _array(given: Iterable[Any], name: str) -> NDArray[Any]:
    if hasattr(given, "detach"):  # a tensor, perhaps on a GPU
        given = given.detach().cpu()
    try:
        array = np.asarray(given if hasattr(given, "__array__") else list(given))
    except Exception as error:
        raise ValueError(f"the {name} are no list of {name}: {error}") from None
    if array.ndim != 1:
        raise ValueError(
            f"the {name} have the shape {list(array.shape)}; give a flat list, one for each sample"
        )
    if not array.size:
        raise ValueError(f"there are no {name}; give one for each sample")
    if array.size > MOST_SCORES:
        raise ValueError(f"{array.size:,} {name}; {MOST_SCORES:,} are the most that are kept")
    return array


def _ids(array: NDArray[Any]) -> NDArray[Any]:
    if array.dtype.kind in "iu":
        if array.dtype.kind == "u" and int(array.max()) >= 2**63:
            raise ValueError("an id is 2**63 or more; give whole numbers of 64 bits, or texts")
        return array.astype(np.int64)
    if array.dtype.kind == "O" and all(type(one) is str for one in array):
        array = array.astype(np.str_) if max(map(len, array)) <= MOST_ID else array
    if array.dtype.kind != "U":
        raise ValueError(
            f"the ids are {_kind(array)}; give whole numbers of 64 bits, or texts of at most {MOST_ID} "
            "characters"
        )
    if array.dtype.itemsize > 4 * MOST_ID:
        raise ValueError(f"an id has more than {MOST_ID} characters")
    return array


def _numbers(array: NDArray[Any]) -> NDArray[np.float64]:
    if array.dtype.kind not in "biuf":
        raise ValueError(f"the scores are {_kind(array)}; give one number for each sample")
    values = array.astype(np.float64)
    wrong = np.flatnonzero(~np.isfinite(values))
    if wrong.size:
        raise ValueError(
            f"{wrong.size:,} of {values.size:,} scores are not finite; give a number for each sample"
        )
    return values


def _kind(array: NDArray[Any]) -> str:
    kinds = {"f": "floats", "b": "booleans", "U": "texts", "S": "bytes", "M": "dates", "c": "complex numbers"}
    return kinds.get(array.dtype.kind, "of mixed kinds")
