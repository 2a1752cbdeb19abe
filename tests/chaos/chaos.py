"""`make chaos`: a study under random faults that a seed draws, beside the same study undisturbed.

    make chaos SEED=7 FAULTS=54 SEEDS=7 EPOCHS=12

Lines about what happens go to stderr, the table to stdout, and both as JSON into the file `--json`. Exit
status 1 when anything was lost, doubled or changed. It lies beside the tests, and not with the benchmarks,
since it is one: the quick suite checks its schedules, the slow one runs a short ordeal.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.extend(str(Path(__file__).parents[2] / part) for part in ("tests/engine", "docs", ""))

import ground
import reliability
from inject import inject
from ordeal import Ordeal
from schedule import Kind, draw
from traces import Trace
from verdict import computed_beside, faults_of, measured
from workbench import REPOSITORY, Bench

ARMS = {
    "no-mixup": "data.mixup: 0.0",
    "no-augment": "data.augment: false",
    "no-batchnorm": "model.batchnorm: false",
    "no-dropout": "model.dropout: 0.0",
    "no-decay": "optim.weight_decay: 0.0",
    "no-schedule": "optim.schedule: constant",
    "no-adam": "optim.name: adam",
    "no-rate": "optim.lr: 1e-3",
}
ENTRYPOINT = Path(__file__).parent / "entrypoints" / "restless.py"
CHECKPOINT_EVERY = 2
PACE_S = 0.25
DISK = "400m"
STUDY = """\
name: ordeal
entrypoint: restless:Restless
metric: {{name: val/accuracy, mode: max, also: [val/loss]}}
baseline:
  mark: baseline
  data: {{batch_size: 64, augment: true, mixup: 0.2}}
  model: {{width: 4, batchnorm: true, dropout: 0.1}}
  optim: {{name: adamw, lr: 3e-3, weight_decay: 0.01, schedule: cosine}}
components:
{components}
seeds: {seeds}
stopping: {{rule: none, max: {epochs}, unit: epoch}}
checkpoint: {{every: {every}}}
resources: {{workers: 1, cpus_per_worker: 1, gpus_per_worker: 0, max_parallel: 2}}
failures: {{max_retries: 1000, report_timeout: 8}}
"""


def study_text(arms: int, seeds: int, epochs: int) -> str:
    """The study file: the baseline and so many other arms, each under so many seeds."""
    lines = [
        f"  {name.removeprefix('no-')}: {{without: {{mark: {name}, {change}}}}}"
        for name, change in list(ARMS.items())[: arms - 1]
    ]
    return STUDY.format(components="\n".join(lines), seeds=seeds, epochs=epochs, every=CHECKPOINT_EVERY)


def run(options: argparse.Namespace, root: Path) -> dict[str, Any]:
    """Both studies; what came of it."""
    text = study_text(options.arms, options.seeds, options.epochs)
    cells = options.arms * options.seeds
    schedule = draw(options.seed, options.faults, cells * options.epochs, options.only or tuple(Kind))
    began = time.monotonic()
    say = _teller(began)
    say(f"seed {options.seed}: {len(schedule)} faults, {cells} cells of {options.epochs} epochs")
    for fault in schedule:
        say(f"  {fault}")

    undisturbed = _bench(root / "undisturbed", text)
    os.environ["CHAOS_PACE_S"] = "0"
    ended = undisturbed.run("--no-check")
    if ended.code != 0:
        raise AssertionError(f"the undisturbed study ended with {ended.code}\n{ended.err}")
    say("the undisturbed study is through")

    study = _bench(root / "disturbed", text)
    os.environ["CHAOS_PACE_S"] = str(options.pace)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "disk", study.storage_root], check=True)
    logs = root / "nodes"
    logs.mkdir()
    nodes, trace = ground.Nodes(logs), Trace(study.signs / "trace")
    nodes.up()
    say("the cluster is up")
    ordeal = Ordeal(study, trace, nodes, options.epochs, say)
    try:
        ordeal.endure(schedule, inject)
        wrong = ordeal.findings + faults_of(study, undisturbed)
    except AssertionError as error:
        wrong = [*ordeal.findings, str(error)]
    finally:
        if ordeal.driver.process.poll() is None:
            ordeal.driver.kill()
        nodes.down()
        if options.keep is not None:  # the disk goes with the namespace
            shutil.copytree(study.storage_root, root / "record", dirs_exist_ok=True)
    say(f"{len(wrong)} findings" if wrong else "nothing was lost, doubled or changed")
    return {
        "seed": options.seed,
        "cells": cells,
        "epochs": options.epochs,
        "checkpoint_every": CHECKPOINT_EVERY,
        "faults": len(ordeal.struck),
        "drivers": ordeal.starts,
        "attempts": len(study.events("assign")),
        "epochs_beside": computed_beside(trace),
        "minutes": round((time.monotonic() - began) / 60, 1),
        "wrong": wrong,
        "rows": measured(ordeal.struck, trace),
    }


def _bench(root: Path, text: str) -> Bench:
    study = Bench(root, None, text)
    (study.code / "restless.py").write_text(ENTRYPOINT.read_text())
    study.storage_root.mkdir()
    os.environ["CHAOS_DIR"] = str(study.signs)
    return study


def _teller(began: float) -> Callable[[str], None]:
    def say(line: str) -> None:
        sys.stderr.write(f"{time.monotonic() - began:6.1f} s  {line}\n")
        sys.stderr.flush()

    return say


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__)
    number = {"type": int}
    parser.add_argument("--seed", default=1, **number, help="draws the faults")  # type: ignore[arg-type]
    parser.add_argument("--faults", default=54, **number)  # type: ignore[arg-type]
    parser.add_argument("--arms", default=len(ARMS) + 1, choices=range(2, len(ARMS) + 2), **number)  # type: ignore[arg-type]
    parser.add_argument("--seeds", default=7, **number, help="of the study's arms")  # type: ignore[arg-type]
    parser.add_argument("--epochs", default=12, **number)  # type: ignore[arg-type]
    parser.add_argument("--pace", default=PACE_S, type=float, help="seconds that every epoch takes longer")
    parser.add_argument("--only", action="append", type=Kind, help="draw only this kind; may be repeated")
    parser.add_argument("--json", type=Path, help="file for what was measured")
    parser.add_argument("--keep", type=Path, help="directory for studies and logs, which stay")
    return parser


def main(words: list[str]) -> int:
    """See the module's text."""
    options = _options().parse_args(words)
    if not ground.is_inside():
        return ground.inside_a_namespace([sys.executable, __file__, *words])
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a shell's background ignores it, and passes that on
    os.environ["PYTHONPATH"] = str(REPOSITORY)
    with tempfile.TemporaryDirectory(prefix="chaos-", ignore_cleanup_errors=True) as folder:
        root = Path(folder) if options.keep is None else options.keep.resolve()
        ground.keep_apart(str(root))
        said = run(options, root)
    for line in said["wrong"]:
        sys.stderr.write(f"{line}\n")
    sys.stdout.write(f"{reliability.chaos_summary(said)}\n{reliability.chaos_table(said)}")
    if options.json is not None:
        options.json.write_text(json.dumps(said, indent=1) + "\n")
    return 1 if said["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
