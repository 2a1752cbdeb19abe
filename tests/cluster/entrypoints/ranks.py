"""A script for torchrun: ranks that add up what they have; rank 0 prints JSON and saves every epoch."""

import argparse
import json
import os
import socket
import time
from pathlib import Path

import torch
import torch.distributed

parser = argparse.ArgumentParser()
parser.add_argument("--level", type=float, required=True)
parser.add_argument("--seed", type=int, required=True)
parser.add_argument("--epochs", type=int, required=True)
parser.add_argument("--epoch-s", type=float, default=0.0)
parser.add_argument("--signs", type=Path, required=True)
parser.add_argument("--resume", type=Path)
args = parser.parse_args()

torch.distributed.init_process_group("gloo")
rank = torch.distributed.get_rank()
weight, first = args.level, 1
if args.resume:
    saved = torch.load(args.resume)
    weight, first = saved["weight"], saved["epoch"] + 1
trace = args.signs / f"{args.level:g}-{args.seed}-rank{rank}.txt"
for epoch in range(first, args.epochs + 1):
    time.sleep(args.epoch_s)
    share = torch.tensor([(rank + 1) * weight / epoch])
    torch.distributed.all_reduce(share)
    weight = 0.5 * weight + share.item() / 10
    with trace.open("a") as lines:
        lines.write(f"{epoch} {socket.gethostname()} {os.getpid()} {time.time():.3f}\n")
    if rank == 0:
        torch.save({"weight": weight, "epoch": epoch}, "part")
        Path("part").rename(f"epoch-{epoch}.pt")
        print(json.dumps({"epoch": epoch, "loss": weight}))  # noqa: T201 - what the study reads
torch.distributed.destroy_process_group()
