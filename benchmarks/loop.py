"""Samples a second of the built-in loop, of a plain PyTorch loop and of Lightning's Trainer, over one loader.

    python benchmarks/loop.py             # two sets, three ways, three rounds

`waiting`: every sample waits 4 ms, a step computes for 60 ms elsewhere. `jpeg`: 3,000 JPEGs of 160 x 160 that
are decoded and mirrored. The ways take turns, each in a process of its own. Then curves of the built-in loop
with several numbers of workers.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from leavings import save, scratch_folder
from machine import describe

HERE = Path(__file__).resolve().parent
WANTED = {"plain": 0.95, "lightning": 1.0}
"""The built-in loop's rate over that of each other way, at least."""
LIMIT_S = 600.0
FEWEST_EPOCHS = 3
"""The first and the last do not count."""


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sets", nargs="+", default=["waiting", "jpeg"], choices=["waiting", "jpeg"])
    parser.add_argument("--workers", type=int, default=4, help="of every loader")
    parser.add_argument("--same", type=int, nargs="*", default=[0, 1, 4], help="workers of equal curves")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=6, help=f"at least {FEWEST_EPOCHS}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    parser.add_argument("--keep", action="store_true", help="keep the pictures")
    chosen = parser.parse_args(words)
    if chosen.epochs < FEWEST_EPOCHS:
        parser.error(f"--epochs {chosen.epochs}: the first and the last do not count, take {FEWEST_EPOCHS}")
    return chosen


def run(which: str, way: str, workers: int, epochs: int, folder: Path) -> dict[str, Any]:
    """One run in a process of its own."""
    words = [sys.executable, str(HERE / "loaded.py"), which, way, str(workers), str(epochs), str(folder)]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    if ended.returncode != 0:
        raise SystemExit(f"{which}, {way}: exit {ended.returncode}\n{ended.stderr[-4000:]}")
    found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return found


def ratios(rounds: Sequence[Mapping[str, Mapping[str, Any]]], way: str) -> list[float]:
    """The built-in loop's rate over another way's, round by round."""
    return [each["ours"]["samples_per_s"] / each[way]["samples_per_s"] for each in rounds]


def table(found: Mapping[str, Sequence[Mapping[str, Mapping[str, Any]]]]) -> str:
    """Medians of the rounds, as Markdown."""
    lines = [
        "| set | way | samples a second | ours over that: median | smallest | start to first step |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for which, rounds in found.items():
        for way in rounds[0]:
            rate, start = (
                statistics.median(each[way][figure] for each in rounds)
                for figure in ("samples_per_s", "first_step_s")
            )
            over = ratios(rounds, way)
            compared = f"{statistics.median(over):.3f} | {min(over):.3f}" if way != "ours" else " | "
            lines.append(f"| {which} | {way} | {rate:,.0f} | {compared} | {start:.1f} s |")
    return "\n".join(lines)


def verdicts(found: Mapping[str, Sequence[Mapping[str, Mapping[str, Any]]]]) -> list[str]:
    """What was wanted, and whether it is so."""
    said = []
    for which, rounds in found.items():
        for way, least in WANTED.items():
            seen = statistics.median(ratios(rounds, way))
            word = "reached" if seen >= least else "NOT reached"
            said.append(f"{which} against {way}: wanted at least {least}, seen {seen:.3f}; {word}.")
    return said


def main(words: Sequence[str] | None = None) -> None:
    chosen = arguments(words)
    with scratch_folder(chosen.keep) as scratch:
        folder = scratch / "jpegs"
        folder.mkdir()
        if "jpeg" in chosen.sets:
            from loaded import make_jpegs

            make_jpegs(folder)
        ways, found = ["ours", "plain", "lightning"], {}
        for which in chosen.sets:
            rounds = []
            for number in range(chosen.rounds):
                order = ways[number % 3 :] + ways[: number % 3]
                print(f"{which}, round {number + 1}: {', '.join(order)} ...", file=sys.stderr, flush=True)
                seen = {way: run(which, way, chosen.workers, chosen.epochs, folder) for way in order}
                rounds.append({way: seen[way] for way in ways})
                rates = ", ".join(f"{way} {seen[way]['samples_per_s']:,.0f}" for way in ways)
                print(f"    samples a second: {rates}", file=sys.stderr, flush=True)
            found[which] = rounds
        print(f"{describe()}.\n\n{table(found)}\n")
        print("\n".join(verdicts(found)))
        for which in chosen.sets if chosen.same else ():
            curves = [
                run(which, "ours", workers, FEWEST_EPOCHS, folder)["reports"] for workers in chosen.same
            ]
            word = "equal" if all(curve == curves[0] for curve in curves) else "NOT equal"
            print(f"{which}: curves with {', '.join(map(str, chosen.same))} workers are {word}, bit for bit.")
        save(chosen.json, rounds=found)


if __name__ == "__main__":
    main()
