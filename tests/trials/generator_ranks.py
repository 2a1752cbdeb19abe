"""One rank of the generator example on gloo: `generator_ranks.py RANK STORE OUT`."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from orchestrator.training.local import LocalSession
from orchestrator.training.loop import run_task
from trials.generator import Draw

CONFIG = {
    "seed": 0,
    "data": {"batch_size": 32, "mirrored": False},
    "model": {"width": 32, "code": 8, "batchnorm": True},
    "loss": {"adversarial": 0.05, "gate": 0.12},
    "optim": {"name": "adamw", "lr": 3e-3},
    "train": {"val_batch_every": 0},
}


def main(rank: int, out: Path) -> None:
    def run(name: str, **more: Any) -> LocalSession:
        session = LocalSession(
            CONFIG,
            6,
            str(out / name),
            world_rank=rank,
            world_size=2,
            local_rank=rank,
            checkpoints=True,
            **more,
        )
        run_task(Draw, session)
        return session

    whole = run("whole")
    resumed = run("resumed", resume_from=whole.checkpoint_path(whole.reports[2]["step"]))
    (out / f"rank-{rank}.json").write_text(json.dumps({"reports": whole.reports, "resumed": resumed.reports}))


if __name__ == "__main__":
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{sys.argv[2]}", rank=int(sys.argv[1]), world_size=2)
    main(int(sys.argv[1]), Path(sys.argv[3]))
    dist.barrier()
    os._exit(0)  # gloo's threads do not have to end with the interpreter, which sometimes aborts
