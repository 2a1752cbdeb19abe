"""What happened to one trial, attempt by attempt, out of the journal."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from orchestrator.record.events import Assigned, AttemptFailed, Reopened, Started, TrialEnd
from orchestrator.record.journal import JournalContents, Line, decode
from orchestrator.record.storage import Storage


@dataclass(frozen=True)
class Attempt:
    """One attempt. `began`, `ended`: seconds since 1970, None where the journal does not say.

    `group`: the worker group; `resumed`: step of the checkpoint that it went on from; `state`: what it ended
    as, in words; `node`: where it failed; `asked_by`: who had asked for the trial once more.
    """

    number: int
    began: float | None = None
    group: str | None = None
    resumed: int | None = None
    devices: tuple[str, ...] = ()
    ended: float | None = None
    state: str = ""
    cause: str | None = None
    reason: str | None = None
    node: str | None = None
    asked_by: str | None = None


def lines_of(contents: JournalContents, cell: str) -> tuple[Line, ...]:
    """Return what the lines that were read say about a cell, in order."""
    return tuple(line for line in contents.lines if getattr(line.event, "cell", None) == cell)


def earlier_lines_of(storage: Storage, contents: JournalContents, cell: str) -> tuple[Line, ...]:
    """Return what the lines that were passed over say about a cell: the journal is searched for its name."""
    if not contents.earlier:
        return ()
    name, found = cell.encode(errors="replace"), []
    for part, size in contents.parts.items():
        data = storage.read_bytes(part, written_once=True)[:size]
        place = data.find(name) if name else -1
        while place >= 0:
            end = data.find(b"\n", place)
            if end < 0:
                break
            line = decode(data[data.rfind(b"\n", 0, place) + 1 : end])
            if line is not None and getattr(line.event, "cell", None) == cell:
                found.append(line)
            place = data.find(name, end)
    return tuple(found[: len(found) - len(lines_of(contents, cell))])


def attempts_of(lines: Iterable[Line]) -> list[Attempt]:
    """Return the attempts that these lines of one cell tell of, in order."""
    found: list[Attempt] = []
    asked_by: str | None = None

    def change(number: int, **said: object) -> None:
        if not found or found[-1].number != number:
            found.append(Attempt(number))
        found[-1] = replace(found[-1], **said)  # type: ignore[arg-type]

    for line in lines:
        at = line.t or None
        match line.event:
            case Reopened(by=asked_by):
                pass
            case Assigned(attempt=number, lane=group):
                found.append(Attempt(number, at, group, asked_by=asked_by))
                asked_by = None
            case Started(attempt=number, lane=group, devices=devices, resume=step):
                change(number, group=group, devices=devices, resumed=step)
            case AttemptFailed(attempt=number, cause=cause, message=message, again=again, node=node):
                words = "failed, to be tried again" if again else "failed"
                change(number, ended=at, state=words, cause=str(cause), reason=message, node=node)
            case TrialEnd(attempt=number, state=ended_as, cause=why, reason=reason) if number:
                known = found[-1] if found and found[-1].number == number else Attempt(number)
                if reason or why:
                    change(number, cause=why and str(why), reason=reason)
                change(number, ended=known.ended or at, state=str(ended_as))
            case _:
                pass
    return found
