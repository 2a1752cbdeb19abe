"""When the trials of a study trained, from its record alone: journal and TensorBoard's event files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from spans import Span

from orchestrator.record.events import TrialEnd
from orchestrator.record.journal import read_journal
from orchestrator.record.layout import StudyPaths
from orchestrator.record.storage import Storage
from orchestrator.study.cells import Plan
from orchestrator.study.loading import LoadedStudy


class Point(NamedTuple):
    """One scalar of an event file."""

    tag: str
    step: int
    wall_time: float
    value: float


def lane_spans(study: LoadedStudy, plan: Plan) -> list[Span]:
    """One span per finished trial, with its lane."""
    storage, paths = Storage.open(study.spec.storage), StudyPaths.of(study.spec.name)
    spans = []
    for event in read_journal(storage, paths.journal).events:
        if not isinstance(event, TrialEnd):
            continue
        cell = plan.cell(event.cell)
        folder = Path(storage.local_path(paths.trial_dir(cell.arm, cell.seed)))
        points = sorted(scalars(folder), key=lambda point: point.wall_time)
        first = next(point for point in points if point.tag == "train/batch_loss")
        last = [point for point in points if point.tag == study.spec.metric.name][-1]
        spans.append(
            Span(
                f"{cell.arm} seed {cell.seed}",
                first.wall_time,
                last.wall_time,
                event.lane,
                event.value,
            )
        )
    return spans


def scalars(folder: Path) -> Iterator[Point]:
    """All scalars of a trial's event files."""
    from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

    for file in sorted(folder.glob("events.out.tfevents.*")):
        for event in LegacyEventFileLoader(str(file)).Load():
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    yield Point(value.tag, event.step, event.wall_time, value.simple_value)
