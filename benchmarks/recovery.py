"""How long a trial stands still when its worker is killed: from SIGKILL to the end of the trial's next step.

    python benchmarks/recovery.py [--kills 5] [--workers 2] [--json FILE]

One study of one long trial on this machine, by `orchestrate ablate`. Its worker (with `--workers 2`, one of
two ranks) is killed again and again while it trains; the clock stops when a new process has finished a step.
An epoch takes a tenth of a second and leaves a checkpoint. All lies in it: that the end is noticed, new
processes, the import of the user's code, the checkpoint, the step.
"""

from __future__ import annotations

import argparse
import os
import signal
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import sessions
import yaml
from leavings import save, scratch_folder
from machine import describe

HERE = Path(__file__).parent
EPOCHS = 100_000
SETTLED = 5
"""Epochs that a process has trained before it is killed."""
AHEAD = 20
"""Epochs until the end, so that all ranks learn of it in time."""


@dataclass(frozen=True)
class Step:
    """A line of the trace: see `traced_trial`."""

    epoch: int
    pid: int
    at: float


@dataclass
class Killer:
    """Kills the process that writes the trace, `kills` times; then `stop` gets the epoch to end with."""

    trace: Path
    kills: int
    stop: Path
    times: list[float] = field(default_factory=list)
    repeated: list[int] = field(default_factory=list)

    def run(self) -> None:
        """Until all kills are done."""
        for _ in range(self.kills):
            steps = self._wait_for(None)
            victim = steps[-1]
            at = time.time()
            os.kill(victim.pid, signal.SIGKILL)
            steps = self._wait_for(victim.pid)
            last = max(step.epoch for step in steps if step.pid == victim.pid)
            first = next(step for step in steps if step.at > at and step.pid != victim.pid)
            self.times.append(first.at - at)
            self.repeated.append(max(0, last - first.epoch + 1))
        part = self.stop.with_suffix(".part")
        part.write_text(str(steps[-1].epoch + AHEAD))
        part.rename(self.stop)

    def _wait_for(self, other_than: int | None) -> list[Step]:
        """Until a process (another one) has finished a step, or enough steps to be killed."""
        wanted = SETTLED if other_than is None else 1
        while True:
            steps = self.steps()
            if steps and steps[-1].pid != other_than:
                own = [step for step in steps if step.pid == steps[-1].pid]
                if len(own) >= wanted:
                    return steps
            time.sleep(0.01)

    def steps(self) -> list[Step]:
        """What the trace has so far."""
        if not self.trace.exists():
            return []
        rows = [line.split() for line in self.trace.read_text().splitlines()]
        return [Step(int(row[0]), int(row[1]), float(row[2])) for row in rows if len(row) == 3]


def study(scratch: Path, workers: int, kills: int) -> dict[str, object]:
    """One long trial, and one beside it that is over at once."""
    return {
        "name": "recovery",
        "entrypoint": "traced_trial:train",
        "metric": {"name": "loss", "mode": "min"},
        "baseline": {"epochs": EPOCHS, "dir": str(scratch)},
        "components": {"length": {"swap": {"none": {"epochs": 1}}}},
        "seeds": [0],
        "stopping": {"rule": "none", "max": EPOCHS, "unit": "epoch"},
        "checkpoint": {"every": 1},
        "failures": {"max_retries": kills + 3},
        "resources": {"workers": workers, "max_parallel": 1},
        "storage": str(scratch / "runs"),
    }


def main(words: list[str] | None = None) -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all figures there")
    parser.add_argument("--keep", action="store_true", help="keep the directory of the run")
    chosen = parser.parse_args(words)
    with scratch_folder(chosen.keep) as scratch:
        file = scratch / "study.yaml"
        file.write_text(yaml.safe_dump(study(scratch, chosen.workers, chosen.kills)))
        killer = Killer(scratch / "trace.txt", chosen.kills, scratch / "stop")
        thread = threading.Thread(target=killer.run, daemon=True)
        thread.start()
        output = scratch / "out"
        ended = sessions.run(
            [*sessions.ABLATE, str(file)],
            cwd=HERE,
            scratch=scratch,
            output=output,
            progress=lambda: len(killer.steps()),
            idle_limit_s=120,
            total_limit_s=60 + 30 * chosen.kills,
        )
        if ended.code != 0 or len(killer.times) < chosen.kills:
            raise SystemExit(f"ended with {ended.code} ({ended.hung}):\n{output.read_text()[-4000:]}")
    print(describe() + "\n")
    print("| killed | kills | training again after: median | max | steps repeated, at most |")
    print("| --- | --- | --- | --- | --- |")
    of = "the worker" if chosen.workers == 1 else f"one of {chosen.workers} ranks"
    times = killer.times
    print(f"| {of} | {len(times)} | {median(times):.1f} s | {max(times):.1f} s | {max(killer.repeated)} |")
    save(chosen.json, seconds=times, repeated=killer.repeated, workers=chosen.workers)


if __name__ == "__main__":
    main()
