"""`orchestrate stop`: ask the driver of a study, wherever it runs, to stop cleanly."""

from __future__ import annotations

import getpass
import socket
import time

from orchestrator.cli import console, oncluster
from orchestrator.cli.oncluster import STUDY, ClusterOption, given
from orchestrator.cli.options import StorageOption, StudyArgument
from orchestrator.cli.runs import find_run


def command(
    study: StudyArgument = None, storage: StorageOption = "runs", cluster: ClusterOption = None
) -> None:
    """Stop a running study.

    From any terminal, as Ctrl-C in its own would; nothing is lost.
    """
    if cluster is not None:
        oncluster.verb(cluster, ["stop", STUDY], study, given(storage))
    from orchestrator.record.control import request
    from orchestrator.record.lease import describe, is_alive, read_lease

    run = find_run(study, storage)
    owner = read_lease(run.storage, run.paths)
    if owner is None or not is_alive(owner, time.time()):
        # a request left lying would stop the next driver at its start
        console.progress(f"{run.root}: nobody runs it now, nothing to stop")
        return
    request(run.storage, run.paths, "stop", by=f"{getpass.getuser()}@{socket.gethostname()}")
    console.progress(f"{run.root}: asked {describe(owner)} to stop; `orchestrate watch` shows when it has")
