"""What a study says after its ordeal, beside the same study undisturbed, and what each kind of fault cost."""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ordeal import Struck
from schedule import Kind
from traces import Trace
from workbench import Bench

SAME = ("cell", "state", "cause", "reason", "length", "value", "used")
"""Columns of `results.parquet` that faults may not change."""
COSTS = ("wall_s", "gpu_s")


def faults_of(study: Bench, undisturbed: Bench) -> list[str]:
    """All in which the study differs from the undisturbed one, one line each; none: nothing was lost."""
    found = _cells(study, undisturbed) + ends_wrong(study)
    for arm, seed in undisturbed.results():
        rows = study.rows(arm, seed)
        if study.curve(arm, seed) != undisturbed.curve(arm, seed):
            found.append(f"{arm}, seed {seed}: another curve\n{rows}\n{undisturbed.rows(arm, seed)}")
        attempts = [row["attempt"] for row in rows]
        if attempts != sorted(attempts):
            found.append(f"{arm}, seed {seed}: a late row of an old attempt: {attempts}")
    said, expected = effects(study), effects(undisturbed)
    found += [
        f"effects.json: {key} is {said.get(key)!r}, undisturbed {expected.get(key)!r}"
        for key in sorted({*said, *expected})
        if said.get(key) != expected.get(key)
    ]
    return found


def _cells(study: Bench, undisturbed: Bench) -> list[str]:
    rows, expected = (
        study.results(),
        undisturbed.results(),
    )  # asserts that each cell of the plan is there once
    found = [f"{key}: lost" for key in expected if key not in rows]
    found += [f"{key}: not in the undisturbed study" for key in rows if key not in expected]
    for key in rows.keys() & expected.keys():
        one, other = ({name: row[name] for name in SAME} for row in (rows[key], expected[key]))
        if one != other:
            found.append(f"{key}: {one}, undisturbed {other}")
    return found


def ends_wrong(study: Bench) -> list[str]:
    """Cells that ended more than once or never, and attempts that were given out twice."""
    ends = Counter(e["cell"] for e in study.events("end") if e["state"] not in ("cancelled", "skipped"))
    found = [
        f"{cell.arm}, seed {cell.seed}: ended {ends[cell.cell]} times"
        for cell in study.plan().cells
        if ends[cell.cell] != 1
    ]
    given = Counter((e["cell"], e["attempt"]) for e in study.events("assign"))
    return found + [
        f"attempt {attempt} of {cell} was given out twice" for (cell, attempt), n in given.items() if n > 1
    ]


def effects(study: Bench) -> dict[str, Any]:
    """`effects.json` without times."""
    said: dict[str, Any] = json.loads(Path(study.storage.local_path(study.paths.effects_json)).read_text())
    for effect in said["effects"]:
        for name in COSTS:
            effect.pop(name)
    return said


def measured(struck: Sequence[Struck], trace: Trace) -> list[dict[str, Any]]:
    """A row per kind of fault that struck, in the order of `Kind`.

    `times`: how often; `again_s`, `again_max_s`: from the fault until the first of the trials that it hit
    had finished its next epoch, in another process where the fault had ended that of the trial: median and
    maximum; None where a trial was hit in none. `steps_repeated`: epochs that were computed again, at most,
    in one trial.
    """
    rows = []
    for kind in Kind:
        hits = [one for one in struck if one.fault.kind is kind]
        if not hits:
            continue
        again = [wait for wait in (_again(one, trace) for one in hits) if wait is not None]
        repeated = [0 if one.survives else trace.repeated(cell, one.at) for one in hits for cell in one.cells]
        rows.append(
            {
                "fault": str(kind),
                "times": len(hits),
                "again_s": round(statistics.median(again), 1) if again else None,
                "again_max_s": round(max(again), 1) if again else None,
                "steps_repeated": max(repeated, default=0),
            }
        )
    return rows


def _again(one: Struck, trace: Trace) -> float | None:
    found = [trace.again(cell, one.at, None if one.survives else pid) for cell, pid in one.cells.items()]
    times = [at - one.at for at in found if at is not None]
    return min(times, default=None)


def computed_beside(trace: Trace) -> int:
    """Epochs that a worker finished for a trial with which a newer one had gone on already."""
    beside = 0
    for epochs in trace.cells.values():
        newest, seen = 0, set[int]()
        for epoch in epochs:
            if epoch.pid != newest and epoch.pid in seen:
                beside += 1
            elif epoch.pid != newest:
                newest = epoch.pid
                seen.add(epoch.pid)
    return beside
