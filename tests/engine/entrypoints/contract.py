"""A trial that both runtimes run: a number that follows from config, seed and epoch, kept in checkpoints.

`on_ray` runs it on Ray and does there, by signals, what `config["faults"]` lists; in one process the runtime
does that itself.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

Report = Callable[[dict[str, Any], Path], None]


def train(config: dict[str, Any], resumed: Path | None, report: Report) -> None:
    """`kind` says how the arm behaves by itself."""
    state, first = float(config["seed"] + 1), 1
    if resumed is not None:
        saved = json.loads((resumed / "state.json").read_text())
        state, first = saved["state"], saved["epoch"] + 1
    print(f"from epoch {first}")  # noqa: T201 - into the trial's log
    for epoch in range(first, int(config["max_length"]) + 1):
        state = (state * 1.7 + config["level"] * 0.31) % 1.0
        loss = (
            float("nan") if (config["kind"], epoch) == ("nan", 3) else config["level"] + state / (1 + epoch)
        )
        if (config["kind"], epoch) == ("raises", 3):
            raise ValueError("the fault of the user's own code")
        if (config["kind"], epoch) == ("early", 3):
            return
        if (config["kind"], epoch) == ("leaves", 3):
            sys.exit(3)
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "state.json").write_text(json.dumps({"state": state, "epoch": epoch}))
            report({"epoch": epoch, "loss": loss}, Path(folder))


def on_ray(config: dict[str, Any]) -> None:
    import ray.train

    rank = ray.train.get_context().get_world_rank()

    def report(metrics: dict[str, Any], folder: Path) -> None:
        ray.train.get_all_reported_checkpoints()  # the one before is stored, whatever happens now
        for number, fault in enumerate(config["faults"]):
            place = config["kind"], rank, metrics["epoch"]
            if place == (fault["kind"], fault.get("rank", 0), fault["at"]) and once(config["dir"], number):
                DO[fault["what"]]()
        checkpoint = ray.train.Checkpoint.from_directory(str(folder))
        ray.train.report(metrics, checkpoint if rank == 0 else None)

    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        train(config, None, report)
    else:
        with checkpoint.as_directory() as folder:
            train(config, Path(folder), report)


def once(folder: str, number: int) -> bool:
    """Whether this is the first try."""
    try:
        os.close(os.open(f"{folder}/fault-{number}", os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def kill_this_worker() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def hang() -> None:
    threading.Event().wait(600)


def kill_the_trial_actor() -> None:
    """Tune names its actors by its own wrapper; the study has one slot, so there is one."""
    for process in Path("/proc").iterdir():
        try:
            status = (process / "status").read_text()
            ours = f"\nPPid:\t{os.getppid()}\n" in status  # the same raylet has started both
            if ours and b"ray::ResourceTrainable" in (process / "cmdline").read_bytes():
                os.kill(int(process.name), signal.SIGKILL)
        except (ProcessLookupError, FileNotFoundError, NotADirectoryError):
            continue
    threading.Event().wait(600)


DO = {"worker killed": kill_this_worker, "hang": hang, "slot lost": kill_the_trial_actor}
