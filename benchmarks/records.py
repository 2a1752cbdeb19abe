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
from typing import Any

from leavings import save, scratch_folder
from machine import describe

from orchestrator.record.storage import Storage
from orchestrator.record.studyrecord import StudyRecord
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
    record = StudyRecord.open(storage, spec, plan, "no code", clock=lambda: 1.7e9)
    try:
        record.journal.append_many(
            event for number, cell in enumerate(plan.cells) for event in events(number, cell, checkpoints)
        )
    finally:
        record.close()
    return len(plan.cells), len(storage.read_lines(record.paths.journal))


def events(number: int, cell: Cell, checkpoints: int) -> Iterator[dict[str, Any]]:
    """What the journal says of one cell."""
    done, odd = number % 2 == 0, number % 20
    if not done and odd not in (1, 3):
        return
    place = {"cell": cell.cell, "arm": cell.arm, "seed": cell.seed}
    value = random.Random(number).gauss(10.0)
    attempts = 2 if odd == 1 else 1
    for attempt in range(1, attempts + 1):
        here = {"cell": cell.cell, "attempt": attempt, "lane": f"lane-{number % 8}"}
        yield {"event": "assign", **place, "attempt": attempt, "lane": None, "resume": None}
        yield {"event": "start", **here, "devices": ["CPU"], "resume": None}
        for step in range(1, checkpoints + 1):
            far = {"step": step, "length": LENGTH * step / checkpoints, "value": value + 1 / step}
            yield {"event": "checkpoint", **here, "name": f"step-{step:08d}", **far}
        if attempt < attempts:
            spent = {"wall_s": 10.0, "gpu_s": 0.0}
            why = {"cause": "infra", "fault": "infra", "message": "the worker is gone", "again": True}
            yield {"event": "failure", **place, **here, **why, **spent}
    if done:
        end = {"state": "done", "cause": None, "reason": None, "length": LENGTH, "value": value}
        yield {"event": "end", **place, **here, **end, "wall_s": 60.0, "gpu_s": 0.0}


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
