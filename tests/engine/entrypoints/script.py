"""A script as people have them: argparse, JSON lines on stdout, a checkpoint for every epoch."""

import argparse
import functools
import json
import os
import subprocess
import sys
import time
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("--level", type=float, required=True)
parser.add_argument("--seed", type=int, required=True)
parser.add_argument("--epochs", type=int, default=3)
parser.add_argument("--resume", type=Path)
parser.add_argument("--first", choices=("save", "print"), default="save")
parser.add_argument("--hold", action="store_true", help="after the first epoch wait for ever, with a child")
parser.add_argument("--wait", type=float, default=0.0, help="seconds that an epoch takes")
parser.add_argument("--pause", type=Path, help="after epoch N wait for the file `go-N` in this directory")
args = parser.parse_args()

out = Path("out")
out.mkdir(exist_ok=True)
state, first = args.seed + 1.0, 1
if args.resume:
    saved = json.loads(args.resume.read_text())
    state, first = saved["state"], saved["epoch"] + 1
say = functools.partial(print, flush=True)  # as it happens
say(f"begins with epoch {first}, rank {os.environ.get('RANK')} of {os.environ.get('WORLD_SIZE')}")


def save() -> None:
    (out / "part").write_text(json.dumps({"state": state, "epoch": epoch}))
    (out / "part").rename(out / f"epoch-{epoch}.json")


for epoch in range(first, args.epochs + 1):
    state = (state * 1.7 + args.level * 0.31) % 1.0
    if os.environ.get("RANK", "0") == "0":
        if args.first == "save":
            save()
        say(json.dumps({"epoch": epoch, "loss": args.level + state / (1 + epoch)}))
        if args.first == "print":
            save()
    time.sleep(args.wait)
    if args.hold:
        subprocess.run(
            [sys.executable, "-c", "import time; time.sleep(1000)", str(out.resolve())], check=False
        )
    while args.pause and not (args.pause / f"go-{epoch}").exists():
        time.sleep(0.02)
