"""`orchestrate stop`: ask the driver of a study, wherever it runs, to stop cleanly."""

from __future__ import annotations

from orchestrator.api.recorded import open_study
from orchestrator.cli import console, oncluster
from orchestrator.cli.oncluster import STUDY, ClusterOption, given
from orchestrator.cli.options import StorageOption, StudyArgument


def command(
    study: StudyArgument = None, storage: StorageOption = "runs", cluster: ClusterOption = None
) -> None:
    """Stop a running study.

    From any terminal, as Ctrl-C in its own would; nothing is lost.
    """
    if cluster is not None:
        oncluster.verb(cluster, ["stop", STUDY], study, given(storage))
    recorded = open_study(study, storage)
    driver = recorded.stop()
    if driver is None:
        console.progress(f"{recorded.root}: nobody runs it now, nothing to stop")
        return
    console.progress(f"{recorded.root}: asked {driver} to stop; `orchestrate watch` shows when it has")
