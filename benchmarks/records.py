"""What large records cost those who read them: commands and the page. They are written here, never run.

    python benchmarks/records.py [--cells 500 2000 10000] [--repeat 3] [--json FILE] [--keep]

Half of the cells are done; of the others a fifth is under way, half of them again after a failure. Each
command is a process of its own, as a user starts it, and so is the server, which is asked for the page of the
study and its figures: for the first time, with nothing new, after a checkpoint and after the end of a trial.
The trials have no metric tables, so figures find no curves. Effects that a
large study's page does not wait for are a row of their own. Last comes the plan of 100,000 cells. Medians of
the repeats are shown. On a busy machine the processor time says more than the clock.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import yaml
from leavings import save, scratch_folder
from machine import describe

from orchestrator.decide.faults import FaultKind
from orchestrator.decide.states import TrialState
from orchestrator.record.events import Assigned, AttemptFailed, Checkpointed, Event, Started, TrialEnd
from orchestrator.record.layout import StudyPaths
from orchestrator.record.recorded import read_record
from orchestrator.record.storage import Storage
from orchestrator.record.studyrecord import Start, StudyRecord
from orchestrator.study.cells import Cell, make_plan
from orchestrator.study.spec import StudySpec

NAME = "large"
LENGTH = 10
COMMANDS = (
    ("--version",),
    ("status", NAME, "--json"),
    ("status", NAME),
    ("report", NAME),
    ("report", NAME, "--write"),
)
PLAN, PLANNED_SEEDS = ("plan", "-c", "plan.yaml"), 1_000
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
            happened = list(events(number, cell, checkpoints))
            record.append(*happened)
            if happened:
                storage.make_dir(record.paths.trial(cell.arm, cell.seed).root)
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


def command(words: tuple[str, ...], folder: Path) -> tuple[float, float, float]:
    """What a command costs: seconds by the clock, on the processor, MB at most."""
    return _child([sys.executable, "-c", _COMMAND, *words], folder, subprocess.DEVNULL)[:3]


def _child(words: list[str], folder: Path, out: int) -> tuple[float, float, float, bytes]:
    began = time.perf_counter()
    with subprocess.Popen(words, cwd=folder, stdout=out) as child:
        said = b"" if child.stdout is None else child.stdout.read()
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode not in (0, 1):  # 1: not every cell is answered
        raise RuntimeError(f"{' '.join(words)} ended with {child.returncode}")
    return time.perf_counter() - began, used.ru_utime + used.ru_stime, used.ru_maxrss / 1000, said


def looks(folder: Path) -> dict[str, Any]:
    """What the page of the study costs a server that has just started: look -> (wall, processor, bytes)."""
    from starlette.testclient import TestClient

    from orchestrator.record.journal import Line, encode
    from orchestrator.web.answers import Site
    from orchestrator.web.app import make_app
    from orchestrator.web.children import ChildProcesses
    from orchestrator.web.guard import Sessions
    from orchestrator.web.kept import KeptStudies
    from orchestrator.web.studyfigures import DRAWINGS

    site = Site(ChildProcesses(folder), Storage.open(folder / "runs"), Sessions("token"), "127.0.0.1", 8765)
    left: list[Callable[[], None]] = []
    vars(site)["studies"] = KeptStudies(site.storage, left.append)
    client = TestClient(make_app(site), base_url=f"http://127.0.0.1:8765{site.sessions.base}")
    client.get("/leave", params={"token": "token"})
    found: dict[str, Any] = {}

    def effects(name: str) -> None:
        began, used = time.perf_counter(), time.process_time()
        for work in left:
            work()
        if left:
            found[f"effects {name}"] = time.perf_counter() - began, time.process_time() - used, 0
        left.clear()

    def look(name: str, tag: str = "") -> str:
        began, used = time.perf_counter(), time.process_time()
        page = client.get(f"/studies/{NAME}/", headers={"If-None-Match": tag} if tag else {})
        found[name] = time.perf_counter() - began, time.process_time() - used, len(page.content)
        known = re.search(r'data-tag="([^"]*)"', page.text)
        effects(f"{name}, beside")
        return known[1].replace("&#34;", '"') if known else tag

    def figures(name: str, tags: dict[str, str]) -> None:
        began, used, size = time.perf_counter(), time.process_time(), 0
        for what in DRAWINGS:
            drawn = client.get(f"/studies/{NAME}/{what}.json", headers={"If-None-Match": tags.get(what, "")})
            tags[what], size = drawn.headers.get("etag", tags.get(what, "")), size + len(drawn.content)
        found[f"figures {name}"] = time.perf_counter() - began, time.process_time() - used, size

    tag, tags = look("first"), dict[str, str]()
    figures("first", tags)
    look("nothing new", tag)
    kept = site.studies.named(NAME)
    assert kept is not None
    under_way = (cell for cell in kept.status().cells if cell.state is TrialState.RUNNING)
    cell, journal = next(under_way), folder / "runs" / kept.run.paths.journal
    how = (TrialState.DONE, None, None, float(LENGTH), 10.0, 60.0, 0.0, "lane-0")
    for name, event in {
        "after a checkpoint": Checkpointed(cell.cell, cell.attempts, "step-00000099", 99, 9.0, 10.0),
        "after an end": TrialEnd(cell.cell, cell.arm, cell.seed, cell.attempts, *how),
    }.items():
        written = journal.read_bytes()
        journal.write_bytes(written + encode(Line(1.7e9, 1, event)) + b"\n")
        tag = look(name, tag)
        figures(name, tags)
    journal.write_bytes(written)
    return {"looks": found, "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000}


def fold(folder: Path) -> dict[str, Any]:
    """What reading the whole journal and folding it costs."""
    began, used = time.perf_counter(), time.process_time()
    found = read_record(Storage.open(folder / "runs"), StudyPaths(NAME))
    assert found is not None
    assert not found.state.problems
    took = time.perf_counter() - began, time.process_time() - used
    return {"row": (*took, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000)}


def _asked_of_child(option: str, folder: Path) -> Any:
    return json.loads(_child([sys.executable, __file__, option, str(folder)], folder, subprocess.PIPE)[3])


def measure(cells: int, asked: argparse.Namespace) -> dict[str, Any]:
    """Write a record of so many cells and read it in every way."""
    with scratch_folder(asked.keep) as folder:
        began = time.perf_counter()
        spec = large_study(cells, min(asked.seeds, cells // 10))
        cells, lines = write_record(Storage.open(folder / "runs"), spec, asked.checkpoints)
        rows: dict[str, list[tuple[float, ...]]] = {}
        written_s = time.perf_counter() - began
        for _ in range(asked.repeat):
            for words in COMMANDS:
                rows.setdefault(f"`orchestrate {' '.join(words)}`", []).append(command(words, folder))
            rows.setdefault("the journal read and folded", []).append(
                _asked_of_child("--fold", folder)["row"]
            )
            said = _asked_of_child("--page", folder)
            for name, (wall_s, processor_s, size) in said["looks"].items():
                row = (wall_s, processor_s, said["memory_mb"], size)
                rows.setdefault(f"page, {name}", []).append(row)
        return {"cells": cells, "lines": lines, "written_s": written_s, "rows": rows}


def plan(asked: argparse.Namespace) -> dict[str, Any]:
    """What planning a large study costs."""
    with scratch_folder(asked.keep) as folder:
        spec = large_study(100_000, PLANNED_SEEDS)
        (folder / "large.py").write_text("def train(config, report): ...\n")
        (folder / "plan.yaml").write_text(yaml.safe_dump(spec.to_dict()))
        rows = {f"`orchestrate {' '.join(PLAN)}`": [command(PLAN, folder) for _ in range(asked.repeat)]}
        return {"cells": 100_000, "lines": 0, "written_s": 0.0, "rows": rows}


def main() -> None:
    """Write the records, time what reads them, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cells", type=int, nargs="+", default=[500, 2_000, 10_000])
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--checkpoints", type=int, default=30, help="per attempt")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--keep", action="store_true", help="keep the records")
    parser.add_argument("--page", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--fold", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.page or asked.fold:
        print(json.dumps(looks(asked.page) if asked.page else fold(asked.fold)))
        return
    found = [*(measure(cells, asked) for cells in asked.cells), plan(asked)]
    print(describe())
    for one in found:
        lines = f", {one['lines']:,} lines, written in {one['written_s']:.1f} s" if one["lines"] else ""
        print(f"\n{one['cells']:,} cells{lines}\n")
        print("| what | takes | on the processor | memory | HTML |\n| --- | --- | --- | --- | --- |")
        for name, measured in one["rows"].items():
            wall_s, processor_s, memory, *size = (median(column) for column in zip(*measured, strict=True))
            html = f"{size[0] / 1000:.0f} kB" if size else ""
            print(f"| {name} | {wall_s:.2f} s | {processor_s:.2f} s | {memory:.0f} MB | {html} |")
    save(asked.json, records=found)


if __name__ == "__main__":
    main()
