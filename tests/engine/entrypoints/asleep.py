"""One native step that takes ten minutes, never reports and holds the interpreter's lock all the while."""

import ctypes
import os
from pathlib import Path

import ray.train


def train(config):
    place = Path(config["dir"])
    written = place / f".{os.getpid()}"
    written.write_text(str(os.getpid()))
    written.rename(place / f"asleep-{ray.train.get_context().get_world_rank()}")
    ctypes.PyDLL(None).sleep(600)
