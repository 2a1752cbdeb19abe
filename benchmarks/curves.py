"""The curves that `verdicts.py` replays: two studies, every arm under thirty seeds, trained once and kept.

A file of `recorded/` holds the study as it was run, what it was run with, and the metric of every report. The
trials are those of the built-in loop in one plain process on one thread, without Ray: the same curves.
"""

from __future__ import annotations

import gzip
import importlib
import json
import os
import platform
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from orchestrator.study.cells import make_plan, trial_config
from orchestrator.study.loading import load_study
from orchestrator.study.spec import StudySpec

HERE = Path(__file__).resolve().parent
RECORDED = HERE / "recorded"
SEEDS = 30
STUDIES: dict[str, tuple[str, tuple[str, ...]]] = {
    "digits": (
        "digits-planted.yaml",
        ("baseline.model.width=8", "components.optimizer=null", "report.margin=0.01"),
    ),
    "charlm": (
        "charlm.yaml",
        (
            "baseline.data.context=32",
            "baseline.data.batch_size=16",
            "baseline.model.width=32",
            "baseline.model.layers=1",
            "components.norm.swap=null",
            "components.warmup=null",
            "components.clip=null",
            "components.dropout=null",
        ),
    ),
}
"""Study file and what is changed of it: smaller networks and fewer arms, so that all is trained within half
an hour of one core; a margin for the digits, fixed before any of it had run."""


@dataclass(frozen=True)
class Recorded:
    """A study whose runs are all known. `study`: its file as plain data; `made`: when, with what.

    `lengths`: where a run reports, in the study's unit; `curves`: arm -> the metric of each seed's reports. A
    run that diverged has fewer of them.
    """

    study: dict[str, Any]
    made: dict[str, Any]
    lengths: list[float]
    curves: dict[str, list[list[float]]]

    @property
    def arms(self) -> list[str]:
        """The reference first."""
        return list(self.curves)

    @property
    def seeds(self) -> int:
        """How many there are of every arm."""
        return len(self.curves[self.arms[0]])

    @property
    def spec(self) -> StudySpec:
        """The study file."""
        return StudySpec.model_validate(self.study)


def there(folder: Path = RECORDED) -> list[str]:
    """Which studies have been recorded."""
    return [name for name in STUDIES if (folder / f"{name}.json.gz").is_file()]


def load(name: str, folder: Path = RECORDED) -> Recorded:
    """Read a kept study. Raises FileNotFoundError."""
    with gzip.open(folder / f"{name}.json.gz", "rt", encoding="utf-8") as file:
        return Recorded(**json.load(file))


def save(name: str, recorded: Recorded, folder: Path = RECORDED) -> Path:
    """Write it; the same content gives the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / f"{name}.json.gz"
    text = json.dumps(asdict(recorded), separators=(",", ":")).encode()
    with place.open("wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as packed:
        packed.write(text)
    return place


def study_of(name: str, seeds: int) -> StudySpec:
    """Return the study that is recorded."""
    file, changes = STUDIES[name]
    return load_study(HERE.parent / "configs" / file, [*changes, f"seeds={seeds}"]).spec


def record(names: list[str], seeds: int, folder: Path, until: float) -> bool:
    """Train what is left of these studies, seed by seed; False where `until` (monotonic) came before the end.

    What has been trained lies in `<name>.part` until the study is complete: the same call goes on from there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    done = {name: dict(_kept(folder / f"{name}.part")) for name in names}
    caches: dict[str, dict[str, Any]] = {name: {} for name in names}
    for seed in range(seeds):
        for name in names:
            spec = study_of(name, seeds)
            plan = make_plan(spec)
            for cell in plan.cells:
                if cell.seed != seed or (cell.arm, seed) in done[name]:
                    continue
                if time.monotonic() > until:
                    return False
                began = time.perf_counter()
                curve = _trained(spec, trial_config(plan, cell, spec), caches[name])
                line = {
                    "arm": cell.arm,
                    "seed": seed,
                    "curve": curve,
                    "wall_s": time.perf_counter() - began,
                }
                with (folder / f"{name}.part").open("a", encoding="utf-8") as lines:
                    lines.write(f"{json.dumps(line)}\n")
                done[name][cell.arm, seed] = line
                print(f"{name}: {cell.arm}, seed {seed}", file=sys.stderr, flush=True)
    for name in names:
        save(name, _whole(name, seeds, done[name]), folder)
        (folder / f"{name}.part").unlink()
    return True


def _kept(part: Path) -> Iterator[tuple[tuple[str, int], dict[str, Any]]]:
    for text in part.read_text(encoding="utf-8").splitlines() if part.exists() else ():
        line = json.loads(text)
        yield (line["arm"], line["seed"]), line


def _trained(spec: StudySpec, config: dict[str, Any], cache: dict[str, Any]) -> list[tuple[float, float]]:
    """Train a cell; return length and metric of its reports, fewer where it diverged."""
    from orchestrator.training.local import LocalSession
    from orchestrator.training.loop import run_task
    from orchestrator.training.session import Diverged

    module, _, task = str(spec.entrypoint).partition(":")
    session = LocalSession(config, float(spec.stopping.max), "", unit=spec.stopping.unit, cache=cache)
    try:
        run_task(getattr(importlib.import_module(module), task), session)
    except Diverged:
        print("diverged", file=sys.stderr)
    return [(row[spec.stopping.unit], row[spec.metric.name]) for row in session.reports]


def _whole(name: str, seeds: int, done: Mapping[tuple[str, int], Mapping[str, Any]]) -> Recorded:
    spec = study_of(name, seeds)
    plan = make_plan(spec)
    file, changes = STUDIES[name]
    curves = {arm.name: [done[arm.name, seed]["curve"] for seed in range(seeds)] for arm in plan.arms}
    longest = max((curve for runs in curves.values() for curve in runs), key=len)
    made = {
        "config": file,
        "changes": list(changes),
        "plan_hash": plan.hash,
        "date": time.strftime("%Y-%m-%d"),
        "python": platform.python_version(),
        "packages": {package: version(package) for package in ("torch", "numpy", "orchestrator")},
        "cores": len(os.sched_getaffinity(0)),
        "threads": 1,
        "hours": round(sum(line["wall_s"] for line in done.values()) / 3600, 2),
    }
    return Recorded(
        spec.model_dump(mode="json"),
        made,
        [length for length, _ in longest],
        {arm: [[value for _, value in curve] for curve in runs] for arm, runs in curves.items()},
    )
