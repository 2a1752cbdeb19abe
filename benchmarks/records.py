"""How long `status` and `report` take for a large record, which is written here and was never run.

    python benchmarks/records.py [--cells 10000] [--checkpoints 4] [--repeat 3] [--json FILE] [--keep]

Half of the cells are done; of the others a fifth is under way, half of them again after a failure. Each
command is a process of its own, as a user starts it; medians of the repeats are shown. On a busy machine the
processor time says more than the clock.
"""

from __future__ import annotations

import argparse
import random
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from leavings import save, scratch_folder
from machine import describe

from orchestrator.decide.faults import FaultKind
from orchestrator.decide.states import TrialState
from orchestrator.record.events import Assigned, AttemptFailed, Checkpointed, Event, Started, TrialEnd
from orchestrator.record.storage import Storage
from orchestrator.record.studyrecord import Start, StudyRecord
from orchestrator.study.cells import Cell, make_plan
from orchestrator.study.spec import StudySpec

NAME = "large"
LENGTH = 10
COMMANDS = (("--version",), ("status", NAME, "--json"), ("status", NAME), ("report", NAME, "--json"))
_COMMAND = "import sys; from orchestrator.cli.app import main; sys.exit(main())"


def large_study(cells: int, seeds: int) -> StudySpec:
    """A grid of about so many cells."""
    parts = max(1, round(cells / seeds) - 1)
    return StudySpec.model_validate(
        {
            "name": NAME,
            "entrypoint": "large:train",
            "metric": {"name": "loss", "mode": "min"},
            "baseline": {f"part_{n}": True for n in range(parts)},
            "components": {f"part_{n}": {"without": {f"part_{n}": False}} for n in range(parts)},
            "seeds": seeds,
            "max_cells": 10 * cells,
            "stopping": {"rule": "none", "max": LENGTH, "unit": "epoch"},
        }
    )


def write_record(storage: Storage, spec: StudySpec, checkpoints: int) -> tuple[int, int]:
    """Write the record of a study under way; returns how many cells and lines it has."""
    plan = make_plan(spec)
    record = StudyRecord.open(storage, spec, plan, Start("no code"), clock=lambda: 1.7e9)
    try:
        for number, cell in enumerate(plan.cells):
            record.append(*events(number, cell, checkpoints))
    finally:
        record.close()
    return len(plan.cells), len(storage.read_lines(record.paths.journal))


def events(number: int, cell: Cell, checkpoints: int) -> Iterator[Event]:
    """What the journal says of one cell."""
    done, odd = number % 2 == 0, number % 20
    if not done and odd not in (1, 3):
        return
    value, lane = random.Random(number).gauss(10.0), f"lane-{number % 8}"
    attempts = 2 if odd == 1 else 1
    for attempt in range(1, attempts + 1):
        yield Assigned(cell.cell, cell.arm, cell.seed, attempt, None, None)
        yield Started(cell.cell, attempt, lane, ("CPU",), None)
        for step in range(1, checkpoints + 1):
            length = LENGTH * step / checkpoints
            yield Checkpointed(cell.cell, attempt, f"step-{step:08d}", step, length, value + 1 / step)
        if attempt < attempts:
            fault = FaultKind.WORKER_KILLED
            message = "the worker is gone"
            yield AttemptFailed(cell.cell, attempt, fault.cause, message, True, None, fault, False, 10.0, 0.0)
    if done:
        how = (TrialState.DONE, None, None, float(LENGTH), value, 60.0, 0.0, lane)
        yield TrialEnd(cell.cell, cell.arm, cell.seed, attempts, *how)


def seconds(words: tuple[str, ...], folder: Path) -> tuple[float, float]:
    """How long a command takes from start to end, by the clock and on the processor."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    run = subprocess.run(
        [sys.executable, "-c", _COMMAND, *words], cwd=folder, stdout=subprocess.DEVNULL, check=False
    )
    if run.returncode not in (0, 1):  # 1: not every cell is answered
        raise RuntimeError(f"{' '.join(words)} ended with {run.returncode}")
    wall_s, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall_s, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Write the record, time the commands, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cells", type=int, default=10_000)
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--checkpoints", type=int, default=4, help="per attempt")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--keep", action="store_true", help="keep the record")
    asked = parser.parse_args()
    spec = large_study(asked.cells, asked.seeds)
    with scratch_folder(asked.keep) as folder:
        began = time.perf_counter()
        cells, lines = write_record(Storage.open(folder / "runs"), spec, asked.checkpoints)
        written_s = time.perf_counter() - began
        times: dict[str, list[tuple[float, float]]] = {" ".join(words): [] for words in COMMANDS}
        for _ in range(asked.repeat):
            for words in COMMANDS:
                times[" ".join(words)].append(seconds(words, folder))
    print(f"{describe()}\n\n{cells:,} cells, {lines:,} lines, written in {written_s:.1f} s\n")
    print("| command | takes | on the processor |\n| --- | --- | --- |")
    for name, measured in times.items():
        wall_s, processor_s = (median(column) for column in zip(*measured, strict=True))
        print(f"| `orchestrate {name}` | {wall_s:.1f} s | {processor_s:.1f} s |")
    save(asked.json, cells=cells, lines=lines, written_s=written_s, times_s=times)


if __name__ == "__main__":
    main()
