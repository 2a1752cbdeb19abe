"""What a verdict costs: rules and goals of this project and Optuna's pruners, on curves that are kept.

    python benchmarks/verdicts.py record    # trains 2 x 8 arms x 30 seeds once: up to half an hour of a core
    python benchmarks/verdicts.py           # replays them, in seconds
    python benchmarks/verdicts.py --write   # and puts the tables into docs/benchmarks.md

A study of five seeds is drawn from the thirty that were recorded, each way is followed through it by the code
that it runs on live, and what it says is compared with what all thirty seeds say. `record` goes on from where
it was ended.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import curves
import page
import pruners
from answers import LANES, RULES, Answer, Drawing, compared, most_seeds, reference, replayed, told
from curves import Recorded

from orchestrator.study.cells import make_plan

SEEDS = 5
MARK = "verdicts"
NO_OPTUNA = "Optuna is not installed here: its pruners were left out (`benchmarks/peers/requirements.txt`)."
NOT_RECORDED = "Not measured yet: the curves have not been recorded.\n"
NOTES = """\
¹ compares arms at the highest rung that two seeds of both have passed, and claims nothing about full length.
What it says is counted here as if it did.

² A pruner answers another question, which configuration to go on with, and says of no arm that it matters or
does not. Here the arms are ranked by the mean of their runs that were not pruned; *no value* counts arms
without such a run.
"""


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("step", nargs="?", choices=["replay", "record"], default="replay")
    parser.add_argument("--studies", nargs="+", default=list(curves.STUDIES), choices=list(curves.STUDIES))
    parser.add_argument("--folder", type=Path, default=curves.RECORDED, help="where the curves are kept")
    parser.add_argument("--draws", type=int, default=300, help="studies that are drawn of each recorded one")
    parser.add_argument("--seed", type=int, default=0, help="of the drawing")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.add_argument("--write", action="store_true", help=f"write the tables into {page.PAGE.name}")
    parser.add_argument("--seeds", type=int, default=curves.SEEDS, help="record: seeds of every arm")
    parser.add_argument(
        "--minutes", type=float, default=math.inf, help="record: leave what remains after so many"
    )
    chosen = parser.parse_args(words)
    if chosen.draws < 1:
        parser.error("--draws: at least one study")
    if chosen.write and chosen.studies != list(curves.STUDIES):
        parser.error("--write: the page has all studies, leave --studies out")
    return chosen


def measured(recorded: Recorded, draws: int, seed: int, optuna: bool) -> dict[str, Any]:
    """Follow every way through the drawn studies; return what each costs, and how often it is right."""
    drawing = Drawing(recorded, SEEDS)
    spec = drawing.spec
    plan = make_plan(spec)
    most, mode = most_seeds(plan), spec.metric.mode
    if recorded.seeds < most:
        raise SystemExit(f"{recorded.seeds} seeds were recorded, {most} are needed")
    makers = pruners.pruners(len(recorded.lengths)) if optuna else {}
    ways: dict[str, list[Answer]] = {name: [] for name in (*RULES, *makers)}
    seconds = dict.fromkeys(("rules", "pruners"), 0.0)
    for index in range(draws):
        picked = drawing.picked(seed, index, most)
        began = time.perf_counter()
        for name, answer in replayed(recorded, spec, plan, picked).items():
            ways[name].append(answer)
        between = time.perf_counter()
        for name, make in makers.items():
            ways[name].append(pruners.pruned(recorded, mode, picked[:SEEDS], name, make))
        seconds["rules"] += between - began
        seconds["pruners"] += time.perf_counter() - between
    truth, margin = reference(recorded), spec.report.margin
    return {
        "made": recorded.made,
        "seeds": recorded.seeds,
        "unit": spec.stopping.unit,
        "metric": spec.metric.name,
        "margin": margin,
        "reference": told(truth, recorded.arms),
        "ways": {name: compared(answers, truth, margin) for name, answers in ways.items()},
        "seconds": seconds,
    }


def drawn(found: Mapping[str, Any] | None) -> str:
    """All tables as Markdown; `found` as `--json` has it, None where nothing was recorded."""
    if found is None:
        return NOT_RECORDED
    optuna = found["optuna"]
    parts = [
        f"{found['draws']} studies of {SEEDS} seeds each, drawn with seed {found['seed']}; runs compete on "
        f"{LANES} lanes.{f' Optuna {optuna}.' if optuna else ''}\n"
    ]
    for name, study in found["studies"].items():
        parts += [f"**{name}**: {_made(study)}\n", f"{_truth(study)}\n", _table(study)]
    return "\n".join([*parts, NOTES if optuna else f"{NOTES}\n{NO_OPTUNA}\n"])


def _made(study: Mapping[str, Any]) -> str:
    made = study["made"]
    versions = ", ".join(f"{name} {version}" for name, version in made["packages"].items())
    changes = ", ".join(f"`{change}`" for change in made["changes"])
    return (
        f"`configs/{made['config']}` with {changes}; {study['seeds']} seeds of every arm, recorded "
        f"{made['date']} (Python {made['python']}, {versions}, plan {made['plan_hash']})."
    )


def _truth(study: Mapping[str, Any]) -> str:
    arms = (f"`{arm}` {verdict} ({size:+.3f})" for arm, (verdict, size) in study["reference"].items())
    margin = "no margin" if study["margin"] is None else f"margin {study['margin']:g}"
    return f"All {study['seeds']} seeds say ({study['metric']}, + is better, {margin}): {', '.join(arms)}."


def _table(study: Mapping[str, Any]) -> str:
    head = [
        *("way", f"{study['unit']}s, of the grid", "arms different / equivalent / open"),
        *("as the reference", "its differences found", "claims against it: arms, studies"),
        *("unconfirmed", "sign right", "best arm right", "no value"),
    ]
    return page.table(head, [_row(name, way) for name, way in study["ways"].items()])


def _row(name: str, way: Mapping[str, Any]) -> list[str]:
    title = RULES.get(name) or f"{pruners.TITLES[name]} ²"
    if "said" in way:
        claims = [
            " / ".join(f"{count:.1f}" for count in way["said"].values()),
            _percent(way["same"]),
            _percent(way["found"]),
            f"{way['against']:.2f}, {_percent(way['studies_against'])}",
            f"{way['unconfirmed']:.2f}",
        ]
    else:
        claims = ["claims nothing", "–", "–", "–", "–"]
    ranks = [_percent(way["signs"]), _percent(way["best"]), f"{way['without']:.1f}"]
    return [title, f"{way['trained']:.2f}", *claims, *ranks]


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.0f} %"


def main(words: Sequence[str] | None = None) -> None:
    chosen = arguments(words)
    if chosen.step == "record":
        import torch

        torch.set_num_threads(1)
        until = time.monotonic() + 60 * chosen.minutes
        if not curves.record(chosen.studies, chosen.seeds, chosen.folder, until):
            print("not complete: the same command goes on", file=sys.stderr)
        return
    missing = [name for name in chosen.studies if name not in curves.there(chosen.folder)]
    if missing:
        raise SystemExit(
            f"{chosen.folder} has no curves of {', '.join(missing)}: python benchmarks/verdicts.py record"
        )
    optuna = pruners.version()
    studies = {}
    for name in chosen.studies:
        recorded = curves.load(name, chosen.folder)
        studies[name] = measured(recorded, chosen.draws, chosen.seed, optuna is not None)
        took = ", ".join(f"{what} {took_s:.1f} s" for what, took_s in studies[name]["seconds"].items())
        print(f"{name}: {took}", file=sys.stderr, flush=True)
    found = {"draws": chosen.draws, "seed": chosen.seed, "optuna": optuna, "studies": studies}
    print(drawn(found))
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if chosen.write:
        page.write(MARK, drawn(found))


if __name__ == "__main__":
    main()
