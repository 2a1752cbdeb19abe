"""What checkpoints cost: how long training stands still for them, on a 100 MB model, at every epoch.

    python benchmarks/checkpoints.py [--steps 180] [--epochs 3] [--cases task-directory,plain-s3]

With AdamW's state a checkpoint has three times the model's bytes. Every case is a study of one trial by
`orchestrate ablate`, with `checkpoint: {every: 1}`, one thread, on a directory or on an S3 server (moto, on
this machine). The time that training stands still is taken on the training path, around the snapshot and
around the report; its share is against the time between two reports, in the same run. The last report is left
out: the trial is over then. `--json FILE` writes every figure.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from statistics import mean
from typing import Any

import sessions
import yaml
from machine import describe

HERE = Path(__file__).parent
ROOT = HERE.parent
CASES = {
    "task-directory": ("Large", "directory"),
    "plain-directory": ("train", "directory"),
    "task-s3": ("Large", "s3"),
    "plain-s3": ("train", "s3"),
}
NAMES = {"Large": "Task, built-in loop", "train": "plain function", "s3": "S3 (moto)"}


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layers", type=int, default=24, help="of 4.2 MB each")
    parser.add_argument("--steps", type=int, default=180, help="of an epoch, 64 samples each")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--json", type=Path, help="write every figure to this file")
    chosen = parser.parse_args(words)
    unknown = [case for case in chosen.cases.split(",") if case not in CASES]
    if unknown:
        parser.error(f"unknown cases: {', '.join(unknown)}; valid: {', '.join(CASES)}")
    return chosen


def study(entrypoint: str, storage: str, chosen: argparse.Namespace, stalls: Path) -> dict[str, Any]:
    """A study of one trial, and a short one beside it, of which nothing is noted."""
    baseline = {
        "layers": chosen.layers,
        "steps": chosen.steps,
        "stalls": str(stalls),
    }
    baseline |= {"data": {"batch_size": 64}, "optim": {"name": "adamw", "lr": 1e-4}}
    return {
        "name": "checkpoints",
        "entrypoint": f"large_model:{entrypoint}",
        "metric": {"name": "val/loss", "mode": "min"},
        "baseline": baseline,
        "components": {"length": {"swap": {"short": {"steps": 1, "stalls": ""}}}},
        "seeds": [0],
        "monitor": [],
        "stopping": {"rule": "none", "max": chosen.epochs, "unit": "epoch"},
        "checkpoint": {"every": 1, "keep_best": 0, "keep_latest": 1},
        "resources": {"max_parallel": 1},
        "storage": storage,
    }


def measure(case: str, chosen: argparse.Namespace, scratch: Path, s3: Any) -> dict[str, Any]:
    """Run one case; its figures, in seconds and bytes."""
    entrypoint, where = CASES[case]
    stalls = scratch / "stalls.jsonl"
    storage = str(scratch / "runs")
    if where == "s3":
        storage = f"s3://{s3.bucket('benchmark-' + case)}/runs"
    file = scratch / "study.yaml"
    file.write_text(yaml.safe_dump(study(entrypoint, storage, chosen, stalls)))
    output = scratch / "out"
    ended = sessions.run(
        [*sessions.ABLATE, str(file), "--no-check"],  # its samples are noise, the same ones twice
        cwd=HERE,
        scratch=scratch,
        output=output,
        idle_limit_s=3600,
        total_limit_s=3600,
    )
    if ended.code != 0:
        raise SystemExit(f"{case} ended with {ended.code}:\n{output.read_text()[-4000:]}")
    return {"case": case, **figures(stalls.read_text().splitlines())}


def figures(lines: list[str]) -> dict[str, Any]:
    """From the lines of `large_model.note`; the last report is left out."""
    notes = [json.loads(line) for line in lines]
    snapshots = [note["s"] for note in notes if note["what"] == "snapshot"]
    reports = [note for note in notes if note["what"] == "report"]
    spans = [later["t"] - earlier["t"] for earlier, later in pairwise(reports)]
    stalls = [a + b["s"] for a, b in zip(snapshots, reports, strict=True)][: len(spans)]
    return {
        "checkpoints": len(stalls),
        "snapshot_s": mean(snapshots[: len(spans)]),
        "report_s": mean(note["s"] for note in reports[: len(spans)]),
        "stall_s": mean(stalls),
        "stalls_s": [round(stall, 3) for stall in stalls],
        "epoch_s": mean(spans),
        "share": sum(stalls) / sum(spans),
    }


def table(rows: list[dict[str, Any]]) -> str:
    """As Markdown."""
    head = ["trial", "storage", "an epoch", "snapshot", "report", "stalled at a checkpoint", "of the time"]
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    for row in rows:
        entrypoint, where = (NAMES.get(word, word) for word in CASES[row["case"]])
        times = " | ".join(f"{1000 * row[key]:.0f} ms" for key in ("snapshot_s", "report_s", "stall_s"))
        lines.append(f"| {entrypoint} | {where} | {row['epoch_s']:.1f} s | {times} | {row['share']:.2%} |")
    return "\n".join(lines)


def main() -> None:
    chosen = arguments()
    sys.path.insert(0, str(ROOT / "tests" / "storage"))
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    rows = []
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ck-")))
        s3 = None
        if "s3" in chosen.cases:
            from stores import CREDENTIALS, server

            s3 = stack.enter_context(server(scratch / "moto.log"))
            os.environ.update(CREDENTIALS, AWS_ENDPOINT_URL=s3.endpoint)
        for case in chosen.cases.split(","):
            print(f"{case} ...", file=sys.stderr, flush=True)
            folder = scratch / str(len(rows))
            folder.mkdir()
            rows.append(measure(case, chosen, folder, s3))
    print(f"{describe()}.\n\n{table(rows)}")
    if chosen.json:
        chosen.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
