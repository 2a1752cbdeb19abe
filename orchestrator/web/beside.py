"""Who else is on this machine: what a study would begin after, and for whom one waits."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.engine.sharing import StudyQueue
from orchestrator.record.storage import Storage


@dataclass(frozen=True)
class OnMachine:
    """`others`: studies that run or wait here; `waits`: for whom this one waits, None where it does not."""

    others: tuple[str, ...] = ()
    waits: tuple[str, ...] | None = None


def on_machine(place: str = "") -> OnMachine:
    """Look who is on this machine beside the study whose directory is `place`."""
    queue = StudyQueue.here()
    waiting = queue.waiting()
    there = [(one.study, one.root) for one in queue.register.tenants()]
    there += [(one.study, one.root) for one, _ in waiting]
    others = dict.fromkeys(study for study, root in there if root != place)
    waits = next((tuple(ahead) for one, ahead in waiting if one.root == place), None)
    return OnMachine(tuple(others), waits)


def place_of(storage: Storage, study: str) -> str:
    """Return the directory of a study as those on this machine name it; empty where it is elsewhere."""
    return storage.path(study) if storage.is_local else ""
