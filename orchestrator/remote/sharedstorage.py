"""Is a study's storage one that every node of the cluster sees? Asked before anything starts."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.errors import ClusterUnavailable, Fault, StorageUnavailable, StudyError
from orchestrator.remote.clusterfile import SHARED_HINT, unshared
from orchestrator.remote.onhost import is_remote
from orchestrator.remote.ssh import Host, on_all
from orchestrator.study.faults import show
from orchestrator.study.loading import apply_override, read_merged


def refuse_unshared(storage: str, study_file: Path, overrides: Sequence[str]) -> None:
    """Refuse a storage that cannot be the same place on several machines: a relative path, or a home.

    Raises:
        StudyError: with file and line of the setting.
    """
    problem = unshared(storage)
    if problem is None:
        return
    merged = read_merged(study_file)
    for override in overrides:
        apply_override(merged, override)
    place = merged.place(("storage",)) if "storage" in merged.data else None
    raise StudyError(
        Fault(
            problem,
            place.file if place else str(study_file),
            place.line if place else None,
            "storage",
            show(storage),
            f"{SHARED_HINT}: in the study file, as storage=PATH, or for all studies as provider.storage "
            "of the cluster file",
        )
    )


def look(hosts: Sequence[Host], storage: str) -> dict[str, str | None]:
    """Return what is wrong with the storage on each host, None where it is shared. The first host is the
    head.

    The head writes a marker, every other host looks for it and writes its own, the head sees all of them.
    Nothing stays behind.
    """
    head, others = hosts[0], hosts[1:]
    inspection = uuid.uuid4().hex
    question = {"storage": storage, "inspection": inspection}
    first = head.ask("onhost", "leave-marker", {**question, "host": head.address, "may_create": True})
    if "error" in first:
        return {head.address: first["error"]}
    later = {**question, "may_create": False}
    theirs = on_all(others, lambda host: host.ask("onhost", "leave-marker", {**later, "host": host.address}))
    remote = is_remote(storage)
    seen = [] if remote else head.ask("onhost", "take-markers", {**question, "made": first["made"]})["seen"]
    found = {
        address: verdict(address, head.address, answer, seen, remote=remote)
        for address, answer in theirs.items()
    }
    stray = [host for host in others if _has_own_place(theirs[host.address], head.address)]
    on_all(stray, lambda host: host.ask("onhost", "take-markers", {**question, "made": []}))
    return {head.address: None, **found}


def verdict(
    address: str,
    head: str,
    answer: Mapping[str, Any] | ClusterUnavailable,
    seen_by_head: Sequence[str],
    *,
    remote: bool,
) -> str | None:
    """Return what is wrong on one host, from what it saw and what the head saw of it."""
    if isinstance(answer, ClusterUnavailable):
        return str(answer)
    if "error" in answer or remote:
        return answer.get("error")
    if head not in answer["seen"]:
        return f"not shared: a file that {head} wrote there is not seen here"
    if address not in seen_by_head:
        return f"not shared: a file that was written here is not seen on {head}"
    return None


def _has_own_place(answer: Mapping[str, Any] | ClusterUnavailable, head: str) -> bool:
    return not isinstance(answer, ClusterUnavailable) and head not in answer.get("seen", [head])


def require_shared(hosts: Sequence[Host], storage: str) -> None:
    """Raise `StorageUnavailable` with every host that does not see the storage."""
    wrong = {address: problem for address, problem in look(hosts, storage).items() if problem is not None}
    if wrong:
        listed = "; ".join(f"{address}: {problem}" for address, problem in wrong.items())
        raise StorageUnavailable(
            f"storage {storage} cannot be used on every node. {listed}. Mount it on all of them, "
            "or give another one: storage=PATH"
        )
