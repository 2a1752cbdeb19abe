"""A study in threads of this process, and its record: what is about decisions and the record needs no Ray."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from orchestrator.engine.inprocess import (
    Faults,
    PlantedFault,
    get_checkpoint,
    report,
    run_in_process,
    session,
)
from orchestrator.engine.running import StudyOutcome
from orchestrator.errors import ExitCode
from orchestrator.record.journal import read_journal
from orchestrator.record.layout import StudyPaths
from orchestrator.record.metrictable import read_metrics
from orchestrator.record.spans import UNTRACED, Untraced
from orchestrator.record.storage import Storage
from orchestrator.record.studyrecord import Start, StudyRecord
from orchestrator.study.cells import make_plan
from orchestrator.study.spec import StudySpec


def train(config: dict[str, Any]) -> None:
    """A number that follows from config, seed and epoch; every rank keeps its own part."""
    here = session()
    state, first = config["seed"] + 1.0, 1
    with get_checkpoint() as folder:
        if folder is not None:
            saved = json.loads((folder / f"state-{here.rank}.json").read_text())
            state, first = saved["state"], saved["epoch"] + 1
    for epoch in range(first, int(config["max_length"]) + 1):
        state = (state * 1.7 + config["level"] * 0.31) % 1.0
        folder = Path(here.storage.local_path(here.paths.root)) / f"mine-{here.rank}"
        folder.mkdir(exist_ok=True)
        (folder / f"state-{here.rank}.json").write_text(json.dumps({"state": state, "epoch": epoch}))
        report({"epoch": epoch, "loss": config["level"] + state / (1 + epoch)}, folder)


class Scene:
    """One study, its record, and as many drivers as it takes."""

    def __init__(self, root: Path, **changes: Any) -> None:
        data: dict[str, Any] = {
            "name": "threads",
            "entrypoint": "trial:train",
            "metric": {"name": "loss", "mode": "min"},
            "baseline": {"level": 1.0},
            "components": {"level": {"swap": {"high": {"level": 2.0}, "low": {"level": 0.5}}}},
            "seeds": 2,
            "stopping": {"max": 3, "unit": "epoch"},
            "failures": {"max_retries": 2, "report_timeout": 5, "stop_when": "never"},
            "loggers": [],
        }
        self._data = data
        self.change(**changes)
        self.storage, self.paths = Storage.open(root), StudyPaths.of(self.spec.name)
        self.code, self.told = "code", list[str]()

    def change(self, **changes: Any) -> None:
        """Another study file for the next driver."""
        self._data |= changes
        self.spec = StudySpec.model_validate(self._data)
        self.plan = make_plan(self.spec)

    def run(
        self,
        *faults: PlantedFault,
        function: Callable[..., Any] = train,
        start: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> ExitCode:
        """What is left of the study, by the next driver; see `outcome`."""
        return self.outcome(*faults, function=function, start=start, **options).exit_code

    def outcome(
        self,
        *faults: PlantedFault,
        function: Callable[..., Any] = train,
        start: Mapping[str, Any] | None = None,
        trace: Untraced = UNTRACED,
        **options: Any,
    ) -> StudyOutcome:
        """What is left of the study, by the next driver.

        Args:
            start: how it opens the record: `fresh`, `extend`, `accept_code_change`.
            trace: takes what driver and workers do; what it says goes to `told`.
            options: of `run_in_process`.
        """
        planted = Faults(*faults)
        options = {"faults": planted, "clock": planted.clock, **options}
        opened = Start(self.code, **start or {})
        record = StudyRecord.open(self.storage, self.spec, self.plan, opened, trace=trace)
        with closing(trace), closing(record):
            trace.keep_in(self.storage, self.paths.spans(record.lease.driver), self.told.append)
            return run_in_process(self.spec, record, function, **options)

    def events(self, kind: str | None = None) -> list[dict[str, Any]]:
        """The lines of the journal."""
        lines = [dict(line.plain()) for line in read_journal(self.storage, self.paths.journal).lines]
        return [line for line in lines if kind in (None, line["event"])]

    def cells(self) -> list[dict[str, Any]]:
        """The rows of `results.parquet`."""
        rows: list[dict[str, Any]] = pq.read_table(
            self.storage.local_path(self.paths.results_parquet)
        ).to_pylist()
        assert len(rows) == len(self.plan.cells)
        return rows

    def failures(self) -> list[str]:
        return [str(event["fault"]) for event in self.events("failure")]

    def curves(self) -> dict[tuple[str, int], list[tuple[int, float]]]:
        return {
            (cell.arm, cell.seed): [
                (row["epoch"], row["loss"])
                for row in read_metrics(self.storage, self.paths.trial(cell.arm, cell.seed))
            ]
            for cell in self.plan.cells
        }
