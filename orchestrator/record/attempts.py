"""Which attempt a trial's record belongs to, when workers of older attempts may still be alive.

Storages know neither locks nor, on object stores, renames, and between a writer's look and its write anything
may happen. So attempts never write the same file: what an attempt writes has its number in its name. A new
attempt begins with its own copy of the curves up to where it resumes, then writes `attempts/<number>.json`:
the checkpoints that it takes over. From then on the record is what the newest attempt wrote and took over;
readers look at nothing else, whenever an older attempt writes, and whatever.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from pydantic import TypeAdapter

from orchestrator.record.jsonlines import to_json
from orchestrator.record.layout import TrialPaths
from orchestrator.record.reading import read_json
from orchestrator.record.storage import Storage

_RECORD = re.compile(r"(\d{1,9})\.json")


class Superseded(Exception):
    """A later attempt has taken the trial over: this one must leave it."""


@dataclass(frozen=True)
class Owner:
    """The newest attempt; `adopted`: names of the checkpoints of older ones that are its own now."""

    adopted: frozenset[str]
    attempt: int = 1

    def has(self, checkpoint: str) -> bool:
        """Whether that checkpoint belongs to the record."""
        return checkpoint in self.adopted or attempt_of(checkpoint) == self.attempt


_OWNER = TypeAdapter(Owner)


def owner_of(storage: Storage, trial: TrialPaths) -> Owner:
    """Return the attempt that has taken the trial over last. The first one needs to take over nothing."""
    names = (entry.name for entry in storage.list(trial.attempts_dir))
    numbers = [int(match.group(1)) for match in map(_RECORD.fullmatch, names) if match]
    if not numbers:
        return Owner(frozenset())
    newest = max(numbers)
    return replace(read_json(storage, trial.attempt_json(newest), _OWNER), attempt=newest)


def refuse_superseded(storage: Storage, trial: TrialPaths, attempt: int) -> None:
    """Raise `Superseded` when a later attempt has taken over. A courtesy: readers do not depend on it."""
    newest = owner_of(storage, trial).attempt
    if newest > attempt:
        raise Superseded(f"attempt {newest} has taken over {trial.root}; attempt {attempt} leaves it")


def take_over(storage: Storage, trial: TrialPaths, attempt: int, adopted: Iterable[str]) -> None:
    """Make `attempt` the owner; its curves must be there. Raises `Superseded`."""
    refuse_superseded(storage, trial, attempt)
    if attempt > 1:
        record = {"attempt": attempt, "adopted": sorted(adopted)}
        storage.write_atomic(trial.attempt_json(attempt), to_json(record))


def attempt_of(checkpoint: str) -> int:
    """Return the attempt that a checkpoint's name stands for."""
    number = re.search(r"\.a(\d+)$", checkpoint)
    return int(number.group(1)) if number else 1
