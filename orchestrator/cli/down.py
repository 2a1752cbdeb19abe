"""`orchestrate down`: stop a cluster, and see that no process of it is left on any host."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli import console
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
    from orchestrator.remote.cluster import Cluster
    from orchestrator.remote.clusterfile import read_cluster_file
    from orchestrator.remote.launch import down

    file = read_cluster_file(cluster)
    ended = down(Cluster(file), console.progress, force=force)
    for host, processes in ended.left.items():
        for process in processes:
            console.progress(f"left: {host}: {process}")
    for host, reason in ended.unreachable.items():
        console.progress(f"unknown: {host} cannot be asked ({reason}); its Ray may still run")
    if not ended.clean:
        console.data(f"{file.name}: not wholly down")
        raise typer.Exit(int(ExitCode.UNAVAILABLE))
    console.data(f"{file.name}: down, no process left on {len(ended.ended) or 'any'} host(s)")
