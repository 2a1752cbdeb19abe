"""What Weights & Biases (offline) and MLflow (a database of the study) cost a trial, per report; no Ray.

    python benchmarks/loggers.py [--reports 500] [--rounds 3] [--json FILE]

Every round writes one trial without loggers and one with each, through the log that a worker uses: a report
has six values, and reports follow each other at once, far faster than a training would send them. Shown are
medians over the rounds. The first trial with a logger, which starts its process, stands apart.
    µs a report      what the training waits for in `TrialLog.report`
    CPU µs a report  processor time of the worker until all is written (tables, TensorBoard, messages)
    ms to arrive     from the first report until the service has all of them, per report: beside the worker
    ms at the end    what the end of the trial waits for, after all these reports
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

from machine import describe

from orchestrator.record.layout import TrialPaths
from orchestrator.record.loggers import TrackedTrial
from orchestrator.record.storage import Storage
from orchestrator.record.trackers.process import Trackers
from orchestrator.record.triallog import TrialLog

CASES: dict[str, tuple[str, ...]] = {"none": (), "wandb": ("wandb",), "mlflow": ("mlflow",)}
METRICS = ("train/loss", "train/accuracy", "val/loss", "val/accuracy", "lr", "grad_norm")


class Times(NamedTuple):
    """What one trial took; see the module's text."""

    told_us: float
    cpu_us: float
    arrived_ms: float
    end_ms: float


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--reports", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write every figure to this file")
    options = parser.parse_args()
    os.environ["WANDB_MODE"] = "offline"
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    with tempfile.TemporaryDirectory() as folder:
        workers = {case: Trackers(names) for case, names in CASES.items()}
        first = {case: trial(case, workers[case], 1, folder) for case in CASES}
        rounds = [
            {case: trial(case, workers[case], options.reports, folder) for case in CASES}
            for _ in range(options.rounds)
        ]
        for trackers in workers.values():
            trackers.end()
    if options.json:
        options.json.write_text(json.dumps({"first": first, "rounds": rounds}))
    print(describe() + f" ({options.rounds} rounds of {options.reports} reports)\n\n" + table(first, rounds))


def trial(case: str, trackers: Trackers, reports: int, folder: str) -> Times:
    """One trial with so many reports.

    Raises:
        RuntimeError: a logger failed: there is nothing to measure.
    """
    name = f"{case}-{time.monotonic_ns()}"
    said: list[str] = []
    trackers.open(TrackedTrial(name, "benchmark", name, "baseline", 0, {"seed": 0}, folder), said.append)
    with TrialLog(Storage.open(folder), TrialPaths(name), trackers=trackers) as log:
        began_s, cpu_s = time.perf_counter(), time.process_time()
        for i in range(1, reports + 1):
            row = {"report": i, "step": i, "epoch": i, "time_s": 0.1 * i, "attempt": 1}
            log.report({**row, **dict.fromkeys(METRICS, 1.0 / i)})
        told_s = time.perf_counter()
        log.finish()
    closing_s, cpu_s = time.perf_counter(), time.process_time() - cpu_s
    trackers.close("done", {"val/accuracy": 1.0})
    ended_s = time.perf_counter()
    if said:
        raise RuntimeError(f"{case}: {'; '.join(said)}")
    return Times(
        told_us=1e6 * (told_s - began_s) / reports,
        cpu_us=1e6 * cpu_s / reports,
        arrived_ms=1e3 * (ended_s - began_s) / reports,
        end_ms=1e3 * (ended_s - closing_s),
    )


def table(first: dict[str, Times], rounds: list[dict[str, Times]]) -> str:
    """Medians over the rounds, as Markdown."""
    head = [
        "loggers",
        "µs a report",
        "CPU µs a report",
        "ms to arrive",
        "ms at the end",
        "the same, first trial",
    ]
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    for case in CASES:
        middle = Times(*(median(figures) for figures in zip(*(r[case] for r in rounds), strict=True)))
        there = f"{middle.arrived_ms:.2f}" if CASES[case] else "–"
        cells = [case, f"{middle.told_us:.1f}", f"{middle.cpu_us:.0f}", there, f"{middle.end_ms:.0f}"]
        lines.append(f"| {' | '.join([*cells, f'{first[case].end_ms:.0f}'])} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
