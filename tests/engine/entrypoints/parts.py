"""Two real ranks, of which one is killed while a checkpoint is on its way: before its part, or after all parts.

Config: `kind` (fsdp or ddp: the example functions as they are), `fault` (none, part-missing, no-manifest).
"""

import os
import signal
import time
from pathlib import Path

import ray.train

from orchestrator.engine.link import Link
from orchestrator.record.checkpoints import CheckpointStore
from trials import fsdp_ray, plain_ray

DIES_AT = 3  # which checkpoint
WAIT_S = 60.0


def train(config):
    rank = ray.train.get_context().get_world_rank()
    mark = Path(config["dir"]) / f"died-{config['kind']}-{config['fault']}"
    if config["fault"] != "none" and rank == 1 and not mark.exists():
        arm(config["fault"], mark)
    {"fsdp": fsdp_ray, "ddp": plain_ray}[config["kind"]].train(config)


def arm(fault, mark):
    """From now on this process dies at its third checkpoint: a new process runs the next attempt."""
    count = 0

    def die_at_third(when, real):
        def wrapped(self, *args, **kwargs):
            nonlocal count
            count += 1
            if count == DIES_AT:
                if when is not None:
                    when(self, *args)
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return real(self, *args, **kwargs)

        return wrapped

    if fault == "part-missing":
        CheckpointStore.put_part = die_at_third(other_part_is_there, CheckpointStore.put_part)
    else:  # its part is stored, and nobody hears of it
        Link.part_done = die_at_third(None, Link.part_done)


def other_part_is_there(store, name, *_):
    """Wait until rank 0 has stored all of its part."""
    folder = Path(store._storage.local_path(store._trial.checkpoint(name)))
    deadline = time.monotonic() + WAIT_S
    while not ((folder / "__0_0.distcp").exists() and (folder / ".metadata").exists()):
        if time.monotonic() > deadline:
            raise AssertionError(f"rank 0 never stored its part in {folder}")
        time.sleep(0.01)
