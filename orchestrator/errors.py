"""Every error that the orchestrator raises on purpose, and the exit code that each one leads to.

    OrchestratorError
    ├── InputError                  exit 2   bad input: nothing was started, nothing was lost
    │   ├── StudyError                       the study file, its overrides or its entrypoint
    │   │   └── UnreadableRecord    exit 4   a recorded study: damaged, or of another version
    │   ├── ChangedStudy                     an existing study was started with other settings
    │   └── ChangedCode                      an existing study was started with other code
    ├── Unavailable                 exit 4   something outside the study does not answer
    │   ├── ClusterUnavailable
    │   ├── StorageUnavailable
    │   └── StudyHeld                        another driver runs this study
    └── InternalError               exit 1   a bug of ours; please report it

An `InputError` carries *all* faults that were found, so that one run of the command shows all of them.
Every class survives pickling: errors cross process borders.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any


class ExitCode(IntEnum):
    """What the command returns to the shell."""

    DONE = 0
    FAILED = 1
    BAD_INPUT = 2
    BUDGET = 3
    UNAVAILABLE = 4
    INTERRUPTED = 130
    TERMINATED = 143


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with the input: what, where, what is valid, what to do next.

    `detail`: lines that are shown below it as they are, a difference of two files.
    """

    message: str
    file: str | None = None
    line: int | None = None
    field: str | None = None
    value: str | None = None
    hint: str | None = None
    detail: tuple[str, ...] = ()

    def __str__(self) -> str:
        where = ":".join(str(part) for part in (self.file, self.line) if part is not None)
        parts = [part for part in (where, self.field) if part]
        text = f"{': '.join(parts)}: {self.message}" if parts else self.message
        if self.value is not None:
            text += f" (got {self.value})"
        if self.hint:
            text += f"; {self.hint}"
        return text


class OrchestratorError(Exception):
    """Base of all errors raised on purpose."""

    exit_code: ExitCode = ExitCode.FAILED


class InputError(OrchestratorError):
    """Bad input, with every fault that was found (at least one)."""

    exit_code = ExitCode.BAD_INPUT

    def __init__(self, faults: Sequence[Fault] | Fault | str) -> None:
        if isinstance(faults, str):
            faults = Fault(faults)
        self.faults: tuple[Fault, ...] = (faults,) if isinstance(faults, Fault) else tuple(faults)
        super().__init__("\n".join(str(fault) for fault in self.faults))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.faults,)


class StudyError(InputError):
    """The study file, its overrides or its entrypoint cannot be used."""


class UnreadableRecord(StudyError):
    """A file of a recorded study cannot be read as what it has to be; the faults name file and place."""

    exit_code = ExitCode.UNAVAILABLE


class ChangedStudy(InputError):
    """The study on disk was made with other settings; the faults list the differences."""


class ChangedCode(InputError):
    """The study on disk was made with other code."""


class Unavailable(OrchestratorError):
    """The cluster, the storage or the study itself cannot be had now."""

    exit_code = ExitCode.UNAVAILABLE


class ClusterUnavailable(Unavailable):
    """No Ray cluster answers, or it cannot hold one worker group."""


class StorageUnavailable(Unavailable):
    """The storage went away, or is broken or full, while the study was running.

    `kind`: what is wrong, in the words of `record.storagefaults.StorageFaultKind`; empty when not known.
    """

    def __init__(self, message: str, kind: str = "") -> None:
        self.kind = kind
        super().__init__(message)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.kind)


class StudyHeld(Unavailable):
    """Another driver holds the lease of this study."""


class InternalError(OrchestratorError):
    """An invariant of the orchestrator itself is broken."""
