"""`orchestrate tensorboard`: TensorBoard over the trial directories, on this machine only."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.api.recorded import open_study
from orchestrator.cli import console, oncluster
from orchestrator.cli.oncluster import STUDY, ClusterOption, given
from orchestrator.cli.options import StorageOption, StudyArgument
from orchestrator.errors import Fault, InputError
from orchestrator.record.run import Run

MIRROR_EVERY_S = 30.0


def command(
    study: StudyArgument = None,
    storage: StorageOption = "runs",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes any that is free.")] = 6006,
    cluster: ClusterOption = None,
) -> None:
    """Open TensorBoard over a study.

    It serves the trial directories at 127.0.0.1; those of an object store from a local mirror. With --cluster
    it runs on the head, and a tunnel leads to it.
    """
    if cluster is not None:
        words = ["tensorboard", STUDY, "--port", str(port)]
        oncluster.verb(cluster, words, study, given(storage), forward=port)
    if importlib.util.find_spec("tensorboard") is None:
        raise InputError(Fault("TensorBoard is not installed", hint="pip install tensorboard"))
    run = open_study(study, storage)
    if run.storage.is_local:
        words = serve_words(str(run.storage.local_path(run.paths.trials_dir)), port)
        sys.stdout.flush()
        os.execv(words[0], words)  # noqa: S606 - no shell on purpose, and Ctrl-C goes to TensorBoard itself
    with tempfile.TemporaryDirectory(prefix="orchestrate-tensorboard-") as folder:
        _serve_mirror(run, Path(folder), port)


def serve_words(logdir: str, port: int) -> list[str]:
    """Return the command that serves `logdir` to this machine alone."""
    options = ["--host", "127.0.0.1", "--port", str(port), "--reload_multifile", "true"]
    return [sys.executable, "-m", "tensorboard.main", "--logdir", logdir, *options]


def mirror(run: Run, folder: Path) -> int:
    """Copy the event files that `folder` does not have yet; returns how many."""
    copied = 0
    for name, size in run.storage.sizes(run.paths.trials_dir).items():
        target = folder / name
        if "tfevents" not in target.name or (target.exists() and target.stat().st_size == size):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(run.storage.read_bytes(f"{run.paths.trials_dir}/{name}"))
        copied += 1
    return copied


def _serve_mirror(run: Run, folder: Path, port: int) -> None:
    console.progress(f"{mirror(run, folder)} event files copied to {folder}")
    server = subprocess.Popen(serve_words(str(folder), port))
    try:
        while True:
            try:
                server.wait(timeout=MIRROR_EVERY_S)
                return
            except subprocess.TimeoutExpired:
                mirror(run, folder)
    finally:
        server.terminate()
        server.wait()
