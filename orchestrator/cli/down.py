"""`orchestrate down`: stop a cluster, and see that no process of it is left on any host."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli import console
from orchestrator.cli.oncluster import open_cluster
from orchestrator.cli.up import FileArgument
from orchestrator.errors import ExitCode


def command(
    cluster: FileArgument = Path("cluster.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Although studies run there.")] = False,
) -> None:
    """Stop Ray on every host of a cluster.

    Refused while a study runs there. Other clusters on the same machines are left alone. Exit code 4 when a
    process is left, or a host could not be asked.
    """
    from orchestrator.remote.launch import down

    there = open_cluster(cluster)
    ended = down(there, console.progress, force=force)
    for host, processes in ended.left.items():
        for process in processes:
            console.progress(f"left: {host}: {process}")
    for host, reason in ended.unreachable.items():
        console.progress(f"unknown: {host} cannot be asked ({reason}); its Ray may still run")
    name = there.file.name
    if not ended.clean:
        console.data(f"{name}: not wholly down")
        raise typer.Exit(int(ExitCode.UNAVAILABLE))
    nothing = f"process left on {len(there.file.hosts)} host(s)" if there.file.is_local else "worker left"
    console.data(f"{name}: down, no {nothing}")
