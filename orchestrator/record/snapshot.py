"""What a long journal has come to, kept beside it, so that readers take in only what is new.

A cache and nothing more: it holds for one plan and for one journal up to a mark, byte by byte, and for one
version of what events come to. One that is damaged or of something else is passed over, and the journal is
read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from operator import attrgetter, ne
from typing import Any

from pydantic import TypeAdapter

from orchestrator.errors import StorageUnavailable, StudyError
from orchestrator.record import events
from orchestrator.record.events import BatchAdded, LookTaken
from orchestrator.record.journal import Mark
from orchestrator.record.jsonlines import from_json, parsed, to_json
from orchestrator.record.layout import StudyPaths
from orchestrator.record.plainlines import UNREADABLE, lines_with_care, reader_of
from orchestrator.record.state import StudyState, TrialRecord
from orchestrator.record.storage import Storage
from orchestrator.study.plan import Batch, Plan

VERSION = 1
"""Of what is kept here. Another one as soon as the same events come to something else."""
SHORTEST = 5_000
"""Lines of a journal that is worth it: as many are folded in a few hundredths of a second."""
_SHARE = 8  # a new one when the journal has grown by an eighth: all together cost little more than the last
_IDENTITY = ("cell", "arm", "seed", "phase", "sample")
_identity = attrgetter(*_IDENTITY)


@dataclass(frozen=True)
class _Head:
    """The first line: what it is of. `plan`: SHA-256 of plan.json; `rest`: of the other lines."""

    version: int
    plan: str
    rest: str
    mark: Mark


@dataclass(frozen=True)
class _Whole:
    """The second line: what is not said of one trial. `added`: to the registered plan, as one batch."""

    families: dict[str, int]
    accepted_code: list[str]
    imported: set[str]
    problems: list[str]
    looks: list[dict[str, Any]]
    added: dict[str, Any] | None
    rungs: list[tuple[float, dict[str, float]]]


_HEAD, _WHOLE = TypeAdapter(_Head), TypeAdapter(_Whole)
_TRIAL, _read_plainly = TypeAdapter(TrialRecord), reader_of(TrialRecord)


@dataclass(frozen=True)
class StateSnapshot:
    """What there is of a study at a mark in its journal."""

    mark: Mark
    plan_digest: str
    lines: Sequence[bytes]

    def state(self, plan: Plan, plan_data: bytes) -> StudyState:
        """Return the state of the registered plan, as `fold` has it of the lines up to the mark.

        Raises `ValueError` when this is no snapshot of that plan.
        """
        if hashlib.sha256(plan_data).hexdigest() != self.plan_digest:
            raise ValueError("a snapshot of another plan")
        first, *trials = self.lines
        whole = _WHOLE.validate_python(from_json(first))
        if whole.added is not None:
            plan = plan.grown(_event(whole.added, BatchAdded).batch)
        return StudyState(
            plan,
            _trials_read(trials, plan),
            rung_table=dict(whole.rungs),
            looks=[_event(look, LookTaken) for look in whole.looks],
            families=whole.families,
            accepted_code=whole.accepted_code,
            imported=whole.imported,
            problems=whole.problems,
        )


def _trials_read(lines: Sequence[bytes], plan: Plan) -> dict[str, TrialRecord]:
    """Return the trials of the plan, in its order; raises `ValueError` when there are others."""
    read = (_trial_read(line, care) for line, care in lines_with_care(b"\n".join(lines)))
    begun = {record.cell: record for record in read}
    trials = {
        cell.cell: begun.pop(cell.cell) if cell.cell in begun else TrialRecord.of(cell) for cell in plan.cells
    }
    if begun or any(map(ne, map(_identity, plan.cells), map(_identity, trials.values()))):
        raise ValueError("a trial that the plan does not have")
    return trials


def _trial_read(line: bytes, care: bool) -> TrialRecord:
    if not care:
        with suppress(*UNREADABLE):
            return _read_plainly(line)
    return _TRIAL.validate_python(parsed(line))


def _event(line: Mapping[str, Any], kind: type[Any]) -> Any:
    found = events.read(line)
    if type(found) is not kind:
        raise ValueError(f"no {kind.kind}")
    return found


def read_snapshot(storage: Storage, paths: StudyPaths) -> StateSnapshot | None:
    """Read what is kept of a study; None where there is nothing, or nothing that this version can use."""
    try:
        head, _, rest = storage.read_bytes(paths.snapshot).partition(b"\n")
        found = _HEAD.validate_python(from_json(head))
    except (FileNotFoundError, ValueError, StudyError):
        return None
    if (found.version, found.rest) != (VERSION, hashlib.sha256(rest).hexdigest()):
        return None
    return StateSnapshot(found.mark, found.plan, rest.split(b"\n"))


class SnapshotWriter:
    """Keeps a study's snapshot up to date. `registered`: the plan without what results have added."""

    def __init__(self, storage: Storage, paths: StudyPaths, registered: Plan) -> None:
        self._storage, self._paths = replace(storage, patience_s=0.0), paths
        self._registered, self._lines = registered, 0

    def is_due(self, lines: int) -> bool:
        """Whether the journal has become so much longer that a new one is worth its time."""
        return lines - self._lines >= max(SHORTEST, self._lines // _SHARE)

    def write(self, mark: Mark, state: StudyState) -> None:
        """Write what there is at the end of a journal, if that is long; where it fails, nothing is lost."""
        if mark.lines < SHORTEST or mark.lines == self._lines:
            return
        self._lines = mark.lines
        with suppress(StorageUnavailable, FileNotFoundError, ValueError):
            plan = hashlib.sha256(self._storage.read_bytes(self._paths.plan_json)).hexdigest()
            rest = b"\n".join(lines_of(state, self._registered))
            head = _Head(VERSION, plan, hashlib.sha256(rest).hexdigest(), mark)
            content = to_json(asdict(head)) + b"\n" + rest
            self._storage.write_atomic(self._paths.snapshot, content, lasting=False)


def lines_of(state: StudyState, registered: Plan) -> Iterator[bytes]:
    """Yield what is kept of a state: a line for the whole study, then one for every trial that has begun."""
    plan = state.plan
    added = Batch("added", plan.arms[len(registered.arms) :], plan.cells[len(registered.cells) :])
    whole = _Whole(
        state.families,
        state.accepted_code,
        state.imported,
        state.problems,
        [dict(events.written(look)) for look in state.looks],
        dict(events.written(BatchAdded.of(added))) if added.arms or added.cells else None,
        list(state.rung_table.items()),
    )
    yield to_json({**vars(whole), "imported": sorted(state.imported)})
    for record in state.cells.values():
        said = _TRIAL.dump_python(record, exclude_defaults=True, exclude={"trial_dir"}, warnings=False)
        if said.keys() - _IDENTITY:
            yield to_json({name: getattr(record, name) for name in _IDENTITY} | said)
