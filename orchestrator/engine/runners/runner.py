"""What a runner has to do, and what it is given: the user's code, and a place to run it."""

from __future__ import annotations

import importlib
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, MutableMapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

if TYPE_CHECKING:
    from orchestrator.engine.attempts import TrialRun
    from orchestrator.training.gates.bench import Bench
    from orchestrator.training.gates.ladder import Gate
    from orchestrator.training.gates.results import CheckRequest
    from orchestrator.training.session import Session


class NoEntrypoint(TypeError):
    """What a study names is of no kind that can be run; the text says what to change."""


@dataclass(frozen=True)
class Code:
    """What a study names as its code, and the directory that it is imported from.

    `entrypoint` is `package.module:name`, or a mapping for kinds that are no Python.
    """

    entrypoint: str | Mapping[str, Any]
    root: Path | None = None
    datamodule: str | None = None

    @cached_property
    def target(self) -> Any:
        """What the name is bound to. Raises whatever its module raises."""
        return load_name(str(self.entrypoint), self.root)


def load_name(path: str, code_root: Path | None) -> Any:
    """Return what `package.module:name` is bound to, with the code directory first on the path."""
    if code_root is not None and str(code_root) not in sys.path:
        sys.path.insert(0, str(code_root))
    module_name, _, name = path.partition(":")
    return attrgetter(name)(importlib.import_module(module_name))


class TrialPlace(Protocol):
    """Where a trial runs: a worker of Ray Train, or a thread of this process."""

    def bound(self, run: TrialRun) -> AbstractContextManager[None]:
        """`ray.train.*` is that of the trial in this context."""
        ...

    def session(self, run: TrialRun) -> AbstractContextManager[Session]:
        """Return what the built-in loop talks to."""
        ...


class Runner(ABC):
    """One kind of entrypoint."""

    noun: ClassVar[str]
    """One of them, in words: `a subclass of orchestrator.Task`."""
    takes_datamodule: ClassVar[bool] = False
    without: ClassVar[Mapping[str, str]] = {}
    """Gates of `check`, `lr-find` and `profile` that cannot be asked, by number, and why."""

    @classmethod
    @abstractmethod
    def of(cls, code: Code) -> Runner | None:
        """Take the entrypoint, or leave it to the others with None.

        Raises:
            NoEntrypoint: it is nearly one of this kind; the text says what to change.
        """

    @abstractmethod
    def run(self, run: TrialRun, place: TrialPlace) -> None:
        """Run one attempt: report with `run.report`, go on from `run.resume_dir()`.

        Raises:
            TrialStopped: the trial was left at a report.
            Exception: whatever the user's code raises.
        """

    def runs_without_ray(self, workers: int) -> bool:  # noqa: ARG002 - for those that mind
        """Whether a trial of so many workers can run in a process without Ray."""
        return True

    def bench(self, request: CheckRequest, cache: MutableMapping[str, Any]) -> Bench | str:  # noqa: ARG002
        """Return what the gates look at, or why they cannot be asked; `cache` keeps data between trials."""
        return f"{self.noun} shows neither its data nor its model"

    def gates(self) -> Mapping[str, Gate]:
        """Gates of its own that are asked instead of the usual ones, by number."""
        return {}


class ImportedRunner(Runner):
    """A kind that is found by what a name in the user's code is bound to."""

    def __init__(self, code: Code) -> None:
        self.target: Any = code.target

    @classmethod
    def of(cls, code: Code) -> Self | None:
        """See `Runner.of`."""
        return cls(code) if isinstance(code.entrypoint, str) and cls.takes(code.target, code) else None

    @classmethod
    @abstractmethod
    def takes(cls, target: Any, code: Code) -> bool:
        """Whether the target is of this kind. Raises `NoEntrypoint` for one that nearly is."""
