"""What warm lanes save: the same trials through Ray's documented recipe, through lanes, and in a plain loop.

    python benchmarks/turnaround.py                      # 3 arms x 4 seeds of the digits task, all three ways
    python benchmarks/turnaround.py --runs lanes --components all --seeds 5 --epochs 8 --json figures.json

For each: the time from the last report of a trial to the first optimizer step of the next one in the same
slot (what is left to pay per trial), from the command to the first step, and of the whole study. The ratios
of one table come from one run on one machine, the ways one after the other.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import sessions
import stamped
import yaml
from leavings import save, scratch_folder
from machine import describe
from record_times import lane_spans
from spans import Run, Span, same_values, table

from orchestrator.study.cells import Plan, make_plan, trial_config
from orchestrator.study.loading import LoadedStudy, load_study

ROOT = Path(__file__).resolve().parents[1]
HERE = Path(__file__).resolve().parent
DIGITS = ROOT / "configs" / "digits.yaml"
NAMES = {"recipe": "Ray's documented recipe", "lanes": "lanes", "loop": "plain loop, one process"}


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--components", default="batchnorm,augment", help="of configs/digits.yaml, or 'all'")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--slots", type=int, default=2, help="trials at a time (the plain loop has one)")
    parser.add_argument("--runs", default="lanes,loop,recipe", help="which ways, in this order")
    parser.add_argument("--repeat", type=int, default=1, help="run the lanes so often; all are shown")
    parser.add_argument("--idle-limit", type=float, default=240, help="seconds without a report: it hangs")
    parser.add_argument("--total-limit", type=float, default=1200, help="seconds for one way")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all figures and times there")
    parser.add_argument("--no-check", action="store_true", help="lanes without the gates before the start")
    parser.add_argument("--keep", action="store_true", help="keep the directory of the run")
    chosen = parser.parse_args(words)
    unknown = set(chosen.runs.split(",")) - set(NAMES)
    if unknown:
        parser.error(f"--runs: unknown {', '.join(sorted(unknown))}; valid: {', '.join(NAMES)}")
    return chosen


def study_file(chosen: argparse.Namespace, digits: dict[str, Any], storage: Path) -> dict[str, Any]:
    """The digits study with fewer components, seeds and epochs, and a storage of its own."""
    components = digits["components"]
    names = list(components) if chosen.components == "all" else chosen.components.split(",")
    return {
        **digits,
        "name": "turnaround",
        "components": {name: components[name] for name in names},
        "seeds": chosen.seeds,
        "stopping": {"rule": "none", "max": chosen.epochs, "unit": "epoch"},
        "resources": {"max_parallel": chosen.slots},
        "storage": str(storage),
    }


class Bench:
    """The trials, and a directory for each way of running them."""

    def __init__(self, chosen: argparse.Namespace, scratch: Path) -> None:
        self.chosen, self.scratch = chosen, scratch
        raw = study_file(chosen, load_study(DIGITS).raw, scratch / "runs")
        self.file = scratch / "study.yaml"
        self.file.write_text(yaml.safe_dump(raw, sort_keys=False))
        self.study: LoadedStudy = load_study(self.file)
        self.plan: Plan = make_plan(self.study.spec)
        self.cells = scratch / "cells.json"
        self.cells.write_text(
            json.dumps(
                [
                    {
                        "trial": f"{cell.arm} seed {cell.seed}",
                        "config": trial_config(self.plan, cell, self.study.spec),
                    }
                    for cell in self.plan.cells
                ]
            )
        )

    def run(self, way: str) -> list[Run]:
        """Run the trials one way."""
        if way == "lanes":
            return [self._lanes(number) for number in range(1, self.chosen.repeat + 1)]
        script, slots = ("stock_recipe.py", self.chosen.slots) if way == "recipe" else ("plain_loop.py", 1)
        stamps = self.scratch / f"{way}.jsonl"
        words = [sys.executable, str(HERE / script), str(self.cells), str(stamps)]
        words += [str(slots)] if way == "recipe" else []
        ended = self._session(way, words, lambda: stamps.stat().st_size if stamps.exists() else 0)
        spans = stamped_spans(stamped.read_stamps(stamps), self.chosen.epochs)
        return [self._as_run(NAMES[way], ended, spans, slots)]

    def _lanes(self, number: int) -> Run:
        words = [*sessions.ABLATE, str(self.file), "--fresh"]
        words += ["--no-check"] if self.chosen.no_check else []
        journal = self.scratch / "runs" / "turnaround" / "journal.jsonl"
        ended = self._session(
            f"lanes{number}", words, lambda: journal.stat().st_size if journal.exists() else 0
        )
        name = NAMES["lanes"] if self.chosen.repeat == 1 else f"{NAMES['lanes']}, run {number}"
        return self._as_run(name, ended, lane_spans(self.study, self.plan), self.chosen.slots)

    def _session(self, name: str, words: list[str], progress: Callable[[], int]) -> sessions.Ended:
        scratch, output = self.scratch / name[:6], self.scratch / f"{name}.out"
        scratch.mkdir(exist_ok=True)
        ended = sessions.run(
            words,
            cwd=ROOT,
            scratch=scratch,
            output=output,
            progress=progress,
            idle_limit_s=self.chosen.idle_limit,
            total_limit_s=self.chosen.total_limit,
        )
        if ended.hung is None and ended.code != 0:
            raise SystemExit(f"{name} ended with {ended.code}:\n{output.read_text()[-4000:]}")
        return ended

    def _as_run(self, name: str, ended: sessions.Ended, spans: list[Span], slots: int) -> Run:
        return Run(name, len(self.plan.cells), tuple(spans), ended.started, ended.ended, slots, ended.hung)


def stamped_spans(stamps: list[dict[str, Any]], reports: int) -> list[Span]:
    """Of the trials that came to their last report."""
    began = {line["trial"]: line["t"] for line in stamps if line["event"] == stamped.BEGAN}
    reported: dict[str, list[dict[str, Any]]] = {}
    for line in stamps:
        if line["event"] == stamped.REPORTED:
            reported.setdefault(line["trial"], []).append(line)
    return [
        Span(trial, began[trial], lines[-1]["t"], value=lines[-1]["value"])
        for trial, lines in reported.items()
        if len(lines) == reports
    ]


def show(runs: Sequence[Run]) -> str:
    """The table, with what one has to know to read it."""
    lanes = next((run.name for run in runs if run.name.startswith(NAMES["lanes"])), "")
    lines = [f"{describe()}.", "", table([run.summary() for run in runs], lanes)]
    lines += ["", *(f"{run.name}: ended from outside, {run.hung}." for run in runs if run.hung)]
    same, several = same_values(runs)
    if several:
        lines.append(f"The last metric is the same, bit for bit, in {same} of {several} trials.")
    return "\n".join(lines)


def main(words: Sequence[str] | None = None) -> None:
    chosen = arguments(words)
    with scratch_folder(chosen.keep) as scratch:
        bench, runs = Bench(chosen, scratch), list[Run]()
        for way in chosen.runs.split(","):
            print(f"{NAMES[way]}: {len(bench.plan.cells)} trials ...", file=sys.stderr, flush=True)
            runs += bench.run(way)
        print(show(runs))
        save(chosen.json, runs=[run.to_json() for run in runs])


if __name__ == "__main__":
    main()
