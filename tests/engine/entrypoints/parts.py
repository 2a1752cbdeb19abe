"""Two real ranks, one of which is killed while a checkpoint is on its way: before its part, or after it.

Config: `kind` (fsdp or ddp: the example functions as they are), `fault` (none, part-missing, no-manifest).
"""

import os
import signal
import time
from pathlib import Path

import ray.train

from orchestrator.engine.attempts._link import Link
from orchestrator.record.checkpoints import CheckpointStore
from trials import fsdp_ray, plain_ray

DIES_AT = 3  # which checkpoint
WAIT_S = 60.0


def train(config):
    rank = ray.train.get_context().get_world_rank()
    mark = Path(config["dir"]) / f"died-{config['kind']}-{config['fault']}"
    if config["fault"] != "none" and rank == 1 and not mark.exists():
        arm(config, mark)
    {"fsdp": fsdp_ray, "ddp": plain_ray}[config["kind"]].train(config)


def arm(config, mark):
    """From now on this process dies at its third checkpoint: a new process runs the next attempt."""
    count = 0

    def die_at_third(when, real, what=""):
        def wrapped(self, *args, **kwargs):
            nonlocal count
            count += what in str(args[0])
            if count == DIES_AT:
                when(self, *args)
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return real(self, *args, **kwargs)

        return wrapped

    if config["fault"] == "part-missing":
        CheckpointStore.put_part = die_at_third(other_part_is_there, CheckpointStore.put_part)
    else:  # its part is stored, and nobody hears of it
        Link.of_all = die_at_third(lambda *_: until_kept(config, DIES_AT - 1), Link.of_all, "stored")


def other_part_is_there(store, name, *_):
    """Wait until rank 0 has stored all of its part."""
    folder = Path(store._storage.local_path(store._trial.checkpoint(name)))
    until(lambda: (folder / "__0_0.distcp").exists() and (folder / ".metadata").exists())


def until_kept(config, count):
    """Wait until rank 0 has completed the checkpoints before."""
    trial = (
        Path(config["dir"]).parent / "storage" / "parts" / "trials" / f"{config['kind']}={config['fault']}"
    )
    until(lambda: len(list(trial.glob("seed-0/checkpoints/*.json"))) >= count)


def until(condition):
    deadline = time.monotonic() + WAIT_S
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("rank 0 never came so far")
        time.sleep(0.01)
