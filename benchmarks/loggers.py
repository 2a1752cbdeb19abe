"""What Weights & Biases (offline) and MLflow (a database of the study) cost a trial, per report; no Ray.

    python benchmarks/loggers.py [--reports 500] [--rounds 3] [--json FILE]

Every round writes one trial without loggers and one with each, through the log that a worker uses: a report
has six values, and reports follow each other at once, far faster than a training would send them. Shown are
medians over the rounds. The first trial with a logger, which starts its process, stands apart.
    ms a report    what the worker waits for in `TrialLog.report`: the trial's tables, TensorBoard, the queue
    ms to arrive   from the first report until the service has all of them, per report: beside the worker
    ms at the end  what the end of the trial waits for, after all these reports
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from statistics import median

from machine import describe

from orchestrator.record.layout import TrialPaths
from orchestrator.record.storage import Storage
from orchestrator.record.trackers.process import Trackers
from orchestrator.record.trackers.run import TrackedTrial
from orchestrator.record.triallog import TrialLog

CASES: dict[str, tuple[str, ...]] = {"none": (), "wandb": ("wandb",), "mlflow": ("mlflow",)}
METRICS = ("train/loss", "train/accuracy", "val/loss", "val/accuracy", "lr", "grad_norm")


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


def trial(case: str, trackers: Trackers, reports: int, folder: str) -> tuple[float, float, float]:
    """ms a report, ms to arrive per report, ms at the end.

    Raises:
        RuntimeError: a logger failed: there is nothing to measure.
    """
    name = f"{case}-{time.monotonic_ns()}"
    said: list[str] = []
    trackers.open(TrackedTrial(name, "benchmark", name, "baseline", 0, {"seed": 0}, folder), said.append)
    with TrialLog(Storage.open(folder), TrialPaths(name), trackers=trackers) as log:
        began_s = time.perf_counter()
        for i in range(1, reports + 1):
            row = {"report": i, "step": i, "epoch": i, "time_s": 0.1 * i, "attempt": 1}
            log.report({**row, **dict.fromkeys(METRICS, 1.0 / i)})
        told_s = time.perf_counter()
        log.finish()
    closing_s = time.perf_counter()
    trackers.close("done", {"val/accuracy": 1.0})
    ended_s = time.perf_counter()
    if said:
        raise RuntimeError(f"{case}: {'; '.join(said)}")
    return (
        1000 * (told_s - began_s) / reports,
        1000 * (ended_s - began_s) / reports,
        1000 * (ended_s - closing_s),
    )


def table(
    first: dict[str, tuple[float, float, float]], rounds: list[dict[str, tuple[float, float, float]]]
) -> str:
    """Medians over the rounds, as Markdown."""
    head = ["loggers", "ms a report", "ms to arrive", "ms at the end", "ms at the end, first trial"]
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    for case in CASES:
        told, arrived, end = (median(r[case][i] for r in rounds) for i in range(3))
        there = f"{arrived:.2f}" if CASES[case] else "–"
        lines.append(f"| {case} | {told:.2f} | {there} | {end:.0f} | {first[case][2]:.0f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
