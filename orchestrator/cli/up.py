"""`orchestrate up`: start a cluster and count its nodes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli import console
from orchestrator.cli.oncluster import open_cluster
from orchestrator.errors import ExitCode

FileArgument = Annotated[Path, typer.Argument(metavar="CLUSTER", help="The cluster file of `ray up`.")]


def command(
    cluster: FileArgument = Path("cluster.yaml"),
    wait: Annotated[
        float, typer.Option("--wait", min=0.0, metavar="SECONDS", help="How long all nodes may take.")
    ] = 900.0,
    restart: Annotated[
        bool, typer.Option("--restart", help="Run the set-up again and restart Ray: the file has changed.")
    ] = False,
) -> None:
    """Start a cluster, and wait until every node of its file lives.

    One that is up is left as it is. Exit code 4 when a node is missing; the last lines say which, and why.
    """
    from orchestrator.remote.launch import up

    there = open_cluster(cluster)
    ended = up(there, console.progress, wait_s=wait, restart=restart)
    for host, reason in ended.reasons.items():
        console.progress(f"missing: {host}: {reason}")
    console.data(f"{there.file.name}: {ended.roll.words}")
    if not ended.roll.complete:
        raise typer.Exit(int(ExitCode.UNAVAILABLE))
