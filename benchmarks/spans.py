"""When trials trained, and what lies between them: the arithmetic behind `turnaround.py`. Pure."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any


@dataclass(frozen=True)
class Span:
    """The training of one trial: from its first optimizer step to its last report, in Unix seconds.

    `slot` names the lane that it ran on; None where the runner has no such thing. `value`: its last metric.
    """

    trial: str
    first_step: float
    last_report: float
    slot: str | None = None
    value: float | None = None

    @property
    def training_s(self) -> float:
        return self.last_report - self.first_step


@dataclass(frozen=True)
class Run:
    """One way of running the trials, as it went.

    Args:
        name: what it is called in the table.
        planned: trials that were to run.
        spans: those that did.
        started, ended: of the command, Unix seconds.
        slots: trials that may train at the same time.
        hung: it was ended from outside, because nothing happened any more.
    """

    name: str
    planned: int
    spans: tuple[Span, ...]
    started: float
    ended: float
    slots: int
    hung: str | None = None

    def summary(self) -> dict[str, Any]:
        """The figures of the table; None where there were too few trials."""
        gaps = turnarounds(self.spans, self.slots)
        training_s = sum(span.training_s for span in self.spans)
        wall_s = self.ended - self.started
        first_s = min(span.first_step for span in self.spans) - self.started if self.spans else None
        return {
            "name": self.name,
            "planned": self.planned,
            "trained": len(self.spans),
            "hung": self.hung,
            "slots": self.slots,
            "turnaround_median_s": statistics.median(gaps) if gaps else None,
            "turnaround_max_s": max(gaps, default=None),
            "turnarounds": len(gaps),
            "start_s": first_s,
            "wall_s": wall_s,
            "training_s": training_s,
            "ideal_s": training_s / self.slots,
            "over_ideal": (wall_s - first_s) * self.slots / training_s if first_s and training_s else None,
        }

    def to_json(self) -> dict[str, Any]:
        return {**self.summary(), "spans": [asdict(span) for span in self.spans]}


def turnarounds(spans: Iterable[Span], slots: int) -> list[float]:
    """Seconds from the last report of a trial to the first step of the next one in the same slot.

    Where spans name no slot, the slot that has been free the longest is taken to be the next one's: the
    order of first come, first served.
    """
    ordered = sorted(spans, key=lambda span: span.first_step)
    if all(span.slot is not None for span in ordered):
        by_slot: dict[str | None, list[Span]] = defaultdict(list)
        for span in ordered:
            by_slot[span.slot].append(span)
        return [
            following.first_step - before.last_report
            for run in by_slot.values()
            for before, following in pairwise(run)
        ]
    ends = sorted(span.last_report for span in ordered)
    return [span.first_step - end for span, end in zip(ordered[slots:], ends, strict=False)]


def same_values(runs: Sequence[Run]) -> tuple[int, int]:
    """(trials whose last metric is the same in all runs that trained them, trials trained more than once)."""
    values: dict[str, list[float | None]] = defaultdict(list)
    for run in runs:
        for span in run.spans:
            values[span.trial].append(span.value)
    several = [found for found in values.values() if len(found) > 1]
    return sum(len(set(found)) == 1 for found in several), len(several)


def table(summaries: Sequence[Mapping[str, Any]], reference: str) -> str:
    """A Markdown table, one row per run; ratios against the run called `reference`."""
    base = next((row for row in summaries if row["name"] == reference), None)
    lines = [
        "| run | trials | slot free → first step: median | max | ratio | command → first step | whole study "
        "| training s ÷ slots | study after first step ÷ that |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in summaries:
        trained = f"{row['trained']} of {row['planned']}"
        cells = (
            row["name"],
            f"{trained}, **hung**" if row["hung"] else trained,
            seconds(row["turnaround_median_s"]),
            seconds(row["turnaround_max_s"]),
            _ratio(row, base),
            seconds(row["start_s"]),
            f"> {seconds(row['wall_s'])}" if row["hung"] else seconds(row["wall_s"]),
            seconds(row["ideal_s"]),
            f"{row['over_ideal']:.2f}" if row["over_ideal"] and not row["hung"] else "–",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _ratio(row: Mapping[str, Any], base: Mapping[str, Any] | None) -> str:
    key = "turnaround_median_s"
    if base is None or not row[key] or not base[key]:
        return "–"
    return f"{row[key] / base[key]:.3g}×"


def seconds(value: float | None) -> str:
    """`96 ms`, `1.2 s`, `142 s`."""
    if value is None:
        return "–"
    if abs(value) < 1:
        return f"{value * 1e3:.0f} ms"
    return f"{value:.1f} s" if abs(value) < 100 else f"{value:.0f} s"
