"""What runs at this moment, and where: lanes and nodes, as the driver said last."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.decide.states import TrialState
from orchestrator.record.state import TrialRecord
from orchestrator.reporting.incidents import AttemptBegun, Incidents
from orchestrator.reporting.standing import StudyStanding


@dataclass(frozen=True)
class LaneNow:
    """A worker group with the trial that it trains. `since`: when the attempt under way was taken.

    `step`: of the checkpoint that this went on from; `nodes`: none where the driver has not said so.
    """

    trial: TrialRecord
    lane: str | None
    nodes: tuple[str, ...] = ()
    since: float | None = None
    step: int | None = None


@dataclass(frozen=True)
class NodeNow:
    """A node of the cluster, lost ones included. `condition`: `used`, `set aside` or `lost`.

    `load`: processes that run or want to; `memory`, `gpu_memory`: bytes in use, of so many; `gpu`: share of
    the time that its GPUs were busy; None where nobody has said so, or there is no GPU.
    """

    name: str
    cpus: float
    gpus: float
    condition: str
    load: float | None = None
    memory: tuple[float, float] | None = None
    gpu: float | None = None
    gpu_memory: tuple[float, float] | None = None


@dataclass(frozen=True)
class RunNow:
    """The lanes that have a trial, in the plan's order.

    `fit`: how many lanes fit at the same time; `waiting`: how many trials wait for one; both None where the
    driver has not said so; `gpus`: what each lane has.
    """

    lanes: tuple[LaneNow, ...] = ()
    fit: int | None = None
    waiting: int | None = None
    gpus: float = 0.0
    nodes: tuple[NodeNow, ...] = ()

    @property
    def idle(self) -> int:
        """How many lanes have no trial now."""
        return max(0, (self.fit or 0) - len(self.lanes))


def run_now(found: StudyStanding, progress: Mapping[str, Any] | None, incidents: Incidents) -> RunNow:
    """Return what runs now; nothing where nobody runs the study.

    Args:
        found: the study.
        progress: what its driver said last, whatever that is.
        incidents: what has happened so far.
    """
    if found.driver is None:
        return RunNow()
    said = _mapping(progress)
    run = _mapping(said.get("run"))
    places = _mapping(run.get("on"))
    lanes = tuple(
        _lane(cell, _mapping(said.get(cell.cell)), incidents.under_way.get(cell.cell), places)
        for cell in found.cells
        if cell.state is TrialState.RUNNING
    )
    return RunNow(
        lanes,
        _count(run.get("fit")),
        _count(run.get("waiting")),
        _size(run.get("gpus")),
        tuple(_nodes(run.get("nodes"))),
    )


def _lane(
    cell: TrialRecord, now: Mapping[str, Any], begun: AttemptBegun | None, places: Mapping[str, Any]
) -> LaneNow:
    lane = now.get("lane")
    if not isinstance(lane, str):
        lane = None if begun is None else begun.lane
    there = places.get(lane or "")
    nodes = tuple(name for name in there if isinstance(name, str)) if isinstance(there, list) else ()
    if begun is None or begun.attempt != cell.attempts:
        return LaneNow(cell, lane, nodes)
    return LaneNow(cell, lane, nodes, begun.t, begun.step)


def _nodes(said: object) -> Iterator[NodeNow]:
    for node in said if isinstance(said, list) else ():
        one = _mapping(node)
        if isinstance(one.get("name"), str):
            yield NodeNow(
                *(one["name"], _size(one.get("cpus")), _size(one.get("gpus")), str(one.get("is"))),
                load=_up_to(1e6, one.get("load")),
                memory=_used(one.get("memory")),
                gpu=_up_to(1.0, one.get("gpu")),
                gpu_memory=_used(one.get("gpu_memory")),
            )


def _used(said: object) -> tuple[float, float] | None:
    """Return how much of how much is in use, if that is what was said."""
    if not isinstance(said, list) or len(said) != 2:
        return None
    total = _up_to(1e18, said[1])
    used = None if not total else _up_to(total, said[0])
    return None if total is None or used is None else (used, total)


def _up_to(most: float, said: object) -> float | None:
    return float(said) if isinstance(said, int | float) and 0 <= said <= most else None


def _mapping(said: object) -> Mapping[str, Any]:
    return said if isinstance(said, Mapping) else {}


def _size(said: object) -> float:
    return float(said) if isinstance(said, int | float) and 0 <= said < 1e12 else 0.0


def _count(said: object) -> int | None:
    return said if isinstance(said, int) and 0 <= said < 1_000_000 else None
