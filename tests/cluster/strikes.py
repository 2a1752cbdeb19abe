"""Faults that hit a running trial, and what is measured of each."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, NamedTuple

from cluster import Cluster, SharedStudy, until

CHECKPOINT_EVERY = 2
"""Epochs: no fault may cost more."""
FRESH_S = 3.0
"""A trial whose last epoch is younger than this is training now."""


def steady(*, length: int, seeds: int, parallel: int | str = "auto", epoch_s: float = 0.5) -> str:
    """The study file of trials of `length` epochs of `epoch_s` seconds: see `entrypoints/steady.py`."""
    return f"""\
name: steady
entrypoint: steady:train
metric: {{name: loss, mode: min}}
baseline: {{level: 1.0, epoch_s: {epoch_s}, dir: '{{dir}}'}}
components:
  level: {{swap: {{two: {{level: 2.0}}, three: {{level: 3.0}}}}}}
seeds: {seeds}
stopping: {{rule: none, max: {length}, unit: epoch}}
checkpoint: {{every: {CHECKPOINT_EVERY}}}
resources: {{workers: 1, max_parallel: {parallel}}}
"""


def run_undisturbed(cluster: Cluster, text: str) -> SharedStudy:
    """The same study, beside it and to its end."""
    study = SharedStudy(cluster, text, "steady", folder="undisturbed")
    job = study.submit()
    assert job.end() == "SUCCEEDED", job.log()
    return study


class Epoch(NamedTuple):
    """A line of a cell's trace: see `entrypoints/steady.py`."""

    number: int
    host: str
    pid: int
    at: float


@dataclass(frozen=True)
class Row:
    """One fault, as `docs/reliability.md` shows it. Seconds from the fault; None: nobody noticed."""

    fault: str
    detected_s: float | None
    training_again_s: float
    steps_repeated: int

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Victim:
    """A trial that is in its middle."""

    cell: str
    epoch: Epoch


class Story:
    """A study of `steady` trials under way, and what happens to it.

    Args:
        study: its trace files are in `study.signs`.
        length: epochs of each trial.
    """

    def __init__(self, study: SharedStudy, length: int) -> None:
        self.study, self.length = study, length
        self.rows: list[Row] = []
        self.cells_lost: int | None = None

    def trace(self, cell: str) -> list[Epoch]:
        """Epochs in the order in which they were finished, by whatever attempt."""
        lines = (self.study.signs / f"{cell}.txt").read_text().splitlines()
        parts = [line.split() for line in lines]
        return [Epoch(int(number), host, int(pid), float(at)) for number, host, pid, at in parts]

    def victim(self, after: int = 4, before: int = 8, host: str | None = None) -> Victim:
        """Wait for a trial (on `host`) that has computed `after` epochs and has more than `before` to go."""

        def found() -> Victim | None:
            for path in sorted(self.study.signs.glob("*.txt")):
                epochs = self.trace(path.stem)
                if not epochs:
                    continue
                last, own = epochs[-1], [e for e in epochs if e.pid == epochs[-1].pid]
                fresh = time.time() - last.at < FRESH_S and last.number < self.length - before
                if fresh and len(own) >= after and host in (None, last.host):
                    return Victim(path.stem, last)
            return None

        where = f"on {host}" if host else "somewhere"
        return until(found, f"a trial {where} that is in its middle")  # type: ignore[no-any-return]

    def strike(
        self,
        fault: str,
        victim: Victim,
        inject: Callable[[], object],
        detected: Callable[[float], float | None],
        *,
        survives: bool = False,
        limit_s: float = 180.0,
    ) -> Row:
        """Inject the fault, and wait until the victim trains again.

        Args:
            fault: its name in the table.
            detected: when the fault was noticed, asked when training goes on; gets the fault's time.
            survives: the process of the trial outlives the fault, which is over when `inject` returns.
        """
        at = time.time()
        inject()
        over = time.time() if survives else at

        def again() -> Epoch | None:
            for epoch in self.trace(victim.cell):
                other = survives or (epoch.host, epoch.pid) != (victim.epoch.host, victim.epoch.pid)
                if epoch.at > over and other:
                    return epoch
            return None

        first = until(again, f"{victim.cell} trains again after: {fault}", limit_s)
        noticed = detected(at)
        row = Row(
            fault,
            None if noticed is None else round(noticed - at, 1),
            round(first.at - at, 1),
            0 if survives else self.repeated(victim, first),
        )
        self.rows.append(row)
        return row

    def check_the_end(self, undisturbed: SharedStudy) -> None:
        """Every cell once in `results.parquet`, done, with the undisturbed study's curve, bit for bit."""
        rows = self.study.results()
        assert {row["state"] for row in rows.values()} == {"done"}
        assert self.study.curves() == undisturbed.curves()
        self.cells_lost = len(self.study.plan.cells) - len(rows)

    def repeated(self, victim: Victim, first: Epoch) -> int:
        """Epochs that the hit process had finished, also after the fault, and that are computed again."""
        own = (victim.epoch.host, victim.epoch.pid)
        reached = max(
            e.number for e in self.trace(victim.cell) if (e.host, e.pid) == own and e.at <= first.at
        )
        return max(0, reached - first.number + 1)

    def node_died(self, host: str) -> Callable[[float], float | None]:
        """When the head declared the host's node dead."""
        cluster = self.study.cluster
        address = cluster.lab[host].address

        def when(at: float) -> float | None:
            ends = [
                datetime.fromisoformat(node["end_time_ms"]).timestamp()
                for node in cluster.nodes()
                if node["node_ip"] == address and node["state"] == "DEAD"
            ]
            return min((end for end in ends if end > at), default=None)

        return when
