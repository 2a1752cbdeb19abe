"""What is asked of a check and what it answers: plain data that travels between processes as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from pydantic import TypeAdapter

State = Literal["pass", "fail", "skipped"]
MOST_ROWS = 60
GATE_NUMBERS = ("A1", "A2", "A3", "A4", "A5", "A6", "A7", "A8", "A9", "A10", "A11", "A12", "A14")
"""Of `check`, in order; A13 is `lr-find`."""
CHEAP = ("A1", "A2", "A4", "A8", "A9", "A12")
"""What `ablate` asks before a new study."""


@dataclass(frozen=True)
class ArmToCheck:
    """An arm as the study file describes it; `set` holds the dotted keys that it changes.

    `acts_after`: optimizer steps before which its component does nothing, as the study file says.
    """

    name: str
    config: Mapping[str, Any]
    set: Mapping[str, Any] = field(default_factory=dict)
    acts_after: int | None = None


@dataclass(frozen=True)
class CheckRequest:
    """What to check: arms (the reference first), and the metrics that the study waits for."""

    entrypoint: str | dict[str, Any]
    """`package.module:name`, or a command."""
    root: str
    """Directory from which the entrypoint is imported."""
    seed: int
    metrics: tuple[str, ...]
    arms: tuple[ArmToCheck, ...]
    only: tuple[str, ...] = ()
    """Numbers of the gates to ask; none stands for all."""
    brief: bool = False
    """Ask as `ablate` does before a study: shorter sweeps over the data, one step of A9, no pictures."""
    trace: str | None = None
    """File for the trace of `profile`; None: none."""
    datamodule: str | None = None
    """The DataModule that goes with a LightningModule."""
    loader_workers: int = 0
    """Processes that `data.num_workers: auto` stands for in the study's trials."""

    @property
    def code_name(self) -> str:
        """The entrypoint in a line."""
        return str(self.entrypoint["command"] if isinstance(self.entrypoint, dict) else self.entrypoint)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> CheckRequest:
        """Inverse of `dataclasses.asdict`."""
        return TypeAdapter(cls).validate_python(data)


@dataclass(frozen=True)
class EvidenceTable:
    """Evidence in rows; every row is as long as `columns`."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Picture:
    """A PNG, base64-encoded."""

    title: str
    png: str


@dataclass(frozen=True)
class EvidenceCurve:
    """Points (x, y) to be drawn as a line; `mark` is an x worth pointing at."""

    title: str
    x_label: str
    y_label: str
    points: tuple[tuple[float, float], ...]
    log_x: bool = False
    mark: float | None = None


@dataclass(frozen=True)
class GateVerdict:
    """What a gate found. `evidence` is one sentence; `causes`, most likely first, are for a failure."""

    state: State
    evidence: str
    causes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    tables: tuple[EvidenceTable, ...] = ()
    pictures: tuple[Picture, ...] = ()
    curves: tuple[EvidenceCurve, ...] = ()


@dataclass(frozen=True)
class GateResult:
    """A verdict with the gate's number (as in docs/check.md) and name, and the seconds that it took."""

    gate: str
    title: str
    verdict: GateVerdict
    wall_s: float = 0.0

    @property
    def state(self) -> State:
        """The verdict's."""
        return self.verdict.state


@dataclass(frozen=True)
class CheckReport:
    """All gates, in order."""

    study: str
    entrypoint: str
    gates: tuple[GateResult, ...]
    wall_s: float

    @property
    def passed(self) -> bool:
        """Did no gate fail?"""
        return all(gate.state != "fail" for gate in self.gates)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"passed": self.passed, **asdict(self)}


def gate_from_json(data: Mapping[str, Any]) -> GateResult:
    """Inverse of `dataclasses.asdict` for a gate's result."""
    return TypeAdapter(GateResult).validate_python(data)


def passed(evidence: str, **more: Any) -> GateVerdict:
    """Say that the gate holds."""
    return GateVerdict("pass", evidence, **more)


def failed(evidence: str, *causes: str, **more: Any) -> GateVerdict:
    """Say that the gate does not hold; `causes` say what to look at."""
    return GateVerdict("fail", evidence, causes, **more)


def skipped(reason: str) -> GateVerdict:
    """Say that the gate could not be asked."""
    return GateVerdict("skipped", reason)


def cut(rows: Sequence[tuple[str, ...]]) -> tuple[tuple[str, ...], ...]:
    """Return the first `MOST_ROWS` rows of a table, and a last one that counts the others."""
    more = len(rows) - MOST_ROWS
    return tuple(rows) if more <= 0 else (*rows[:MOST_ROWS], (f"… {more} more", *[""] * (len(rows[0]) - 1)))


def listed(names: Sequence[str], most: int = 4) -> str:
    """Return the first names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
