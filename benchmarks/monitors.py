"""What monitors cost on the digits task, against the same trial without any; no Ray.

    python benchmarks/monitors.py [--rounds 8] [--epochs 8] [--json FILE]

Every round runs one trial each without monitors, with the defaults and with all of them, in an order that
changes from round to round. The ratio to the trial without monitors is taken within a round, because a busy
machine changes its pace between rounds; the median over the rounds is shown. All trials write a record
(journal of steps, TensorBoard).
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from statistics import median

import torch
from machine import describe

from orchestrator.record.layout import TrialPaths
from orchestrator.record.storage import Storage
from orchestrator.record.triallog import TrialLog
from orchestrator.study.loading import load_study
from orchestrator.study.names import BUILT_IN
from orchestrator.training.local import LocalSession
from orchestrator.training.loop import Trainer
from orchestrator.training.task import Task
from trials.digits import Digits

ROOT = Path(__file__).parents[1]


class Drawn(Digits):
    """The digits with a picture of their own, so that `visualize` has something to do."""

    def visualize(
        self, outputs: dict[str, torch.Tensor], batch: dict[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        del outputs
        return {"scans": batch["image"]}


CASES: dict[str, tuple[type[Task], tuple[str, ...] | str]] = {
    "none": (Digits, ()),
    "defaults": (Digits, "auto"),
    "all": (Drawn, tuple(BUILT_IN)),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--json", type=Path, help="write every figure to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    config = dict(load_study(ROOT / "configs" / "digits.yaml").spec.baseline)
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:  # imports and caches
            trial(case, config, 1, folder)
        rounds = []
        for i in range(options.rounds):
            names = list(CASES)[i % len(CASES) :] + list(CASES)[: i % len(CASES)]
            rounds.append({name: trial(name, config, options.epochs, folder) for name in names})
    if options.json:
        options.json.write_text(json.dumps(rounds))
    print(describe() + "\n\n" + table(rounds))


def trial(case: str, config: dict[str, object], epochs: int, folder: str) -> tuple[float, float]:
    """Wall and processor time of a trial, ms per step, its record included."""
    task_class, monitors = CASES[case]
    root = f"{case}-{time.monotonic_ns()}"
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    with TrialLog(Storage.open(folder), TrialPaths(root)) as log:
        session = LocalSession(
            config={**config, "seed": 0, "max_length": epochs},
            max_length=epochs,
            trial_dir=folder,
            monitors=monitors,
            sink=log,
        )
        session.scalars = log.scalars  # type: ignore[method-assign]  # the losses of every batch too
        trainer = Trainer(task_class(session.config), session)
        trainer.run()
        log.finish()
    steps = trainer.position.step
    return 1000 * (time.perf_counter() - wall_s) / steps, 1000 * (time.process_time() - cpu_s) / steps


def table(rounds: list[dict[str, tuple[float, float]]]) -> str:
    """Medians over the rounds, as Markdown."""
    head = ["monitors", "ms a step", "CPU ms a step", "wall time against none", "CPU time against none"]
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    for name in CASES:
        wall, cpu = (median(r[name][i] for r in rounds) for i in (0, 1))
        ratios = [median(r[name][i] / r["none"][i] for r in rounds) - 1 for i in (0, 1)]
        lines.append(f"| {name} | {wall:.2f} | {cpu:.2f} | {ratios[0]:+.1%} | {ratios[1]:+.1%} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
