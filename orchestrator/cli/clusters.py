"""`orchestrate up`, `down`: start a cluster and count its nodes; stop it, and see that nothing is left."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli import console
from orchestrator.cli.oncluster import open_cluster
from orchestrator.errors import ExitCode

FileArgument = Annotated[Path, typer.Argument(metavar="CLUSTER", help="The cluster file of `ray up`.")]


def up(
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
    from orchestrator.remote import launch

    there = open_cluster(cluster)
    roll, reasons = launch.up(there, console.progress, wait_s=wait, restart=restart)
    for host, reason in reasons.items():
        console.progress(f"missing: {host}: {reason}")
    console.data(f"{there.file.name}: {roll.words}")
    if not roll.complete:
        raise typer.Exit(int(ExitCode.UNAVAILABLE))


def down(
    cluster: FileArgument = Path("cluster.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Although studies run there.")] = False,
) -> None:
    """Stop Ray on every host of a cluster.

    Refused while a study runs there. Other clusters on the same machines are left alone. Exit code 4 when a
    process is left, or a host could not be asked.
    """
    from orchestrator.remote import launch

    there = open_cluster(cluster)
    ended = launch.down(there, console.progress, force=force)
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
