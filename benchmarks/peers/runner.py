"""The same twelve trials through everything that could run them: `make bench-peers`.

    python benchmarks/peers/runner.py  # all ways, all cases, three repetitions
    python benchmarks/peers/runner.py --ways 'plain loop|pool; warm' --cases tiny-1
    python benchmarks/peers/runner.py --write  # tables into docs/benchmarks.md, docs/peers.json

The ways take turns within each repetition. It runs in an environment of its own (`requirements.txt`), this
project in that of `--own`. Ratios are taken over this project without early stopping, in the same case.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from figures import OURS, drawn, in_turn, written_into
from measure import adopt_orphans, environment, run
from peercase import LENGTHS, Case

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PAGE, FIGURES = ROOT / "docs" / "benchmarks.md", ROOT / "docs" / "peers.json"
OWN = "this_project.py"
WAYS: dict[str, tuple[str, ...]] = {
    "plain loop": ("plain_loop.py",),
    "pool; warm": ("process_pool.py", "warm"),
    "pool; a process per trial": ("process_pool.py", "fresh"),
    "Optuna": ("optuna_study.py", "none"),
    "Optuna, MedianPruner": ("optuna_study.py", "median"),
    "Optuna, HyperbandPruner": ("optuna_study.py", "hyperband"),
    "Syne Tune, local": ("syne_tune_local.py", "none"),
    "Syne Tune, ASHA": ("syne_tune_local.py", "asha"),
    "Ray Tune": ("ray_tune.py", "fifo"),
    "Ray Tune, ASHA": ("ray_tune.py", "asha"),
    "Ray's recipe": ("ray_recipe.py", "fifo"),
    "Ray's recipe, ASHA": ("ray_recipe.py", "asha"),
    OURS: (OWN, "none"),
    "this project, asha": (OWN, "asha"),
    "this project, resolve": (OWN, "resolve"),
}
CASES = [f"{length}-{workers}" for length in LENGTHS if length != "tiny" for workers in (1, 2)]
LIMITS_S = {"tiny": 300.0, "short": 600.0, "middle": 900.0, "long": 2400.0}
"""After that a way counts as hanging. Ray's recipe takes minutes where trials take seconds."""
PACKAGES = ("ray", "torch", "optuna", "syne-tune")
LOAD_BEFORE = os.getloadavg()[0]


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ways", default="|".join(WAYS), help="names of the table, | between them")
    parser.add_argument("--cases", default=",".join(CASES), help="LENGTH-WORKERS, with commas")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument(
        "--limit", type=float, metavar="SECONDS", help="for every run, instead of those of its length"
    )
    parser.add_argument("--own", type=Path, default=ROOT / ".venv/bin/python", help="Python of this project")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name} and {FIGURES.name}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    chosen = parser.parse_args(words)
    chosen.ways, chosen.cases = chosen.ways.split("|"), chosen.cases.split(",")
    chosen.own = chosen.own.absolute()  # ways run elsewhere; a link to a Python is not followed
    if unknown := [way for way in chosen.ways if way not in WAYS]:
        parser.error(f"--ways: unknown {', '.join(unknown)}; valid: {' | '.join(WAYS)}")
    try:
        chosen.cases = [Case.of(word) for word in chosen.cases]
    except ValueError as error:
        parser.error(f"--cases: {error}")
    if chosen.write and chosen.repeat < 3:
        parser.error("--write: at least three repetitions")
    return chosen


def described(own: Path) -> str:
    """Cores, load, date and versions, in one line."""
    said = [f"{name} {found}" for name in PACKAGES if (found := _version(name)) is not None]
    asked = [str(own), "-c", "import orchestrator; print(orchestrator.__version__)"]
    ours = subprocess.run(asked, capture_output=True, text=True, check=False, cwd=ROOT).stdout.strip()
    said += [f"orchestrator {ours}"] if ours else []
    cores, when = len(os.sched_getaffinity(0)), time.strftime("%Y-%m-%d")
    where = f"{cores} cores, load {LOAD_BEFORE:.1f} before, {when}"
    return f"{where}, Python {platform.python_version()}, {', '.join(said)}"


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def measured(way: str, case: Case, chosen: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """One run of one way."""
    script, *variant = WAYS[way]
    python = chosen.own if script == OWN else sys.executable
    words = [str(python), str(HERE / script), str(case), *variant]
    limit_s = LIMITS_S[case.length] if chosen.limit is None else chosen.limit
    with tempfile.TemporaryDirectory(prefix="p", ignore_cleanup_errors=True) as scratch:
        found = run(
            words, cwd=Path(scratch), log=folder / "way.out", limit_s=limit_s, env=environment(Path(scratch))
        )
    print(f"{case} {way}: {found.told or f'{found.wall_s:.1f} s'}", file=sys.stderr, flush=True)
    return {"way": way, **found.to_json()}


def everything(chosen: argparse.Namespace, folder: Path) -> dict[str, list[dict[str, Any]]]:
    """All runs by case, the ways in turn; what cannot do a case is asked once."""
    runs: dict[str, list[dict[str, Any]]] = {str(case): [] for case in chosen.cases}
    unable: set[tuple[str, str]] = set()
    for repetition in range(chosen.repeat):
        for case in chosen.cases:
            for way in in_turn(chosen.ways, repetition):
                if (way, str(case)) in unable:
                    continue
                done = measured(way, case, chosen, folder)
                runs[str(case)].append(done)
                if str(done["told"]).startswith("cannot"):
                    unable.add((way, str(case)))
    order = {way: number for number, way in enumerate(chosen.ways)}
    return {case: sorted(found, key=lambda run: order[run["way"]]) for case, found in runs.items()}


def main(words: Sequence[str] | None = None) -> None:
    chosen = arguments(words)
    adopt_orphans()
    machine = described(chosen.own)
    with tempfile.TemporaryDirectory(prefix="peers-") as folder:
        figures = {"machine": machine, "cases": everything(chosen, Path(folder))}
    print(drawn(figures))
    text = json.dumps(figures, indent=1, ensure_ascii=False) + "\n"
    if chosen.json is not None:
        chosen.json.write_text(text, encoding="utf-8")
    if chosen.write:
        FIGURES.write_text(text, encoding="utf-8")
        PAGE.write_text(written_into(PAGE.read_text(encoding="utf-8"), drawn(figures)), encoding="utf-8")


if __name__ == "__main__":
    main()
