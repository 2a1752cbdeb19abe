"""The list of studies, as plain data that a template can draw: hundreds of them, each looked at cheaply.

Nothing is worked out for it that takes the trials of a study: effects are those of a report that is there.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from orchestrator.decide.states import TrialState
from orchestrator.engine.sharing import StudyQueue
from orchestrator.errors import OrchestratorError
from orchestrator.record.reading import read_json
from orchestrator.record.recorded import RecordedEnvironment, read_environment
from orchestrator.record.spells import Spells, spells
from orchestrator.record.storage import Storage
from orchestrator.reporting.model import StudyReport
from orchestrator.reporting.numbers import duration
from orchestrator.reporting.standing import StudyStanding
from orchestrator.study.visible import visible
from orchestrator.web.kept import KeptStudies, KeptStudy
from orchestrator.web.summary import Drawn, interval, moment, number, summary
from orchestrator.web.tables import Asked, ShownRows, TableColumn, natural, part_of

ASKED_OF_STUDIES = ("study", "owner", "entrypoint", "state", "studies", "studies_first")
"""What the address of the list may ask for: parts of words, a state, and order and part of the table."""
STATES = ("running", "waiting", "failed", "interrupted", "stopped", "complete", "damaged")
"""What a study is in one word, in the order that somebody who looks in wants to see."""
_LEFT = (TrialState.PENDING, TrialState.CANCELLED)
_LARGEST = 4 << 20
"""Bytes of an `effects.json` that the list reads."""
_COLUMNS: tuple[TableColumn[Drawn], ...] = (
    TableColumn("compare", "compare"),
    TableColumn("name", "study", lambda line: natural(line["name"])),
    TableColumn("state", "state", lambda line: STATES.index(line["state"])),
    TableColumn("owner", "owner", lambda line: line["owner"].casefold() or None),
    TableColumn("began", "begun", lambda line: line["began"]),
    TableColumn("wall", "duration", lambda line: line["wall_s"], number=True),
    TableColumn("share", "answered", lambda line: line.get("share")),
    TableColumn("effect", "best effect", lambda line: line["effect"] and line["effect"]["better"]),
    TableColumn("last", "last event", lambda line: line.get("last")),
    TableColumn("report", "report", lambda line: None if not line.get("report") else 0),
)


@dataclass(frozen=True)
class _Effect:
    arm: str
    kind: str
    n: int
    delta: float | None
    lo: float | None
    hi: float | None
    verdict: str


@dataclass(frozen=True)
class _Effects:
    """What is read of an `effects.json`."""

    mode: str
    effects: list[_Effect]


_EFFECTS = TypeAdapter(_Effects)


def list_studies(studies: KeptStudies, asked: Asked) -> ShownRows[Drawn]:
    """Return the studies that are asked for; those that run come first where no other order is."""
    there = [line for line in all_studies(studies) if _is_asked_for(line, asked)]
    there.sort(key=lambda line: (line["state"] not in STATES[:2], natural(line["name"])))
    return part_of("studies", _COLUMNS, there, asked)


def all_studies(studies: KeptStudies) -> list[Drawn]:
    """Return every study that is recorded, or waits to be."""
    queue = _queue(studies.storage)
    names = [entry.name for entry in studies.storage.list() if entry.is_dir]
    lines = [_line(studies, name, queue.pop(name, "")) for name in names]
    there = [line for line in lines if line is not None]
    return there + [_empty(name, "waiting", waits=waits) for name, waits in queue.items()]


def said_of(line: Drawn) -> tuple[object, ...]:
    """Return what the row of a study depends on: while it is the same, so is the row."""
    effect = line["effect"] and tuple(line["effect"].values())
    known = ("name", "state", "waits")
    return (*(line[name] for name in known), *map(line.get, ("problem", "version", "report")), effect)


def _is_asked_for(line: Drawn, asked: Asked) -> bool:
    words = {"study": "name", "owner": "owner", "entrypoint": "entrypoint"}
    found = all(asked[word].casefold() in line[where].casefold() for word, where in words.items())
    return found and asked["state"] in ("", line["state"])


def _queue(storage: Storage) -> dict[str, str]:
    """Return the studies of this storage that wait on this machine for others to end, with those."""
    if not storage.is_local:
        return {}
    above = f"{storage.path().rstrip('/')}/"
    waiting = [(one, ahead) for one, ahead in StudyQueue.here().waiting() if one.root.startswith(above)]
    found = {one.root.removeprefix(above): ", ".join(ahead) for one, ahead in reversed(waiting)}
    return {name: ahead for name, ahead in reversed(found.items()) if "/" not in name}


def _line(studies: KeptStudies, name: str, waits: str) -> Drawn | None:
    """Return one study in the list, or None where there is none. `problem`: why it cannot be read."""
    shown = os.fsencode(name).decode(errors="backslashreplace")
    try:
        kept = studies.named(name)
        if kept is None:
            return _empty(shown, "waiting", waits=waits) if waits else None
        if shown != name:
            return _empty(shown, "damaged", problem="the name of its directory is no text")
        return _known_row(kept, name, waits)
    except OrchestratorError as error:
        told = " ".join(str(error).split()).encode(errors="backslashreplace").decode()
        return _empty(shown, "damaged", problem=told)


def _empty(name: str, state: str, *, problem: str = "", waits: str = "") -> Drawn:
    """Return a study of which nothing else can be said. `waits`: for whom, in the queue."""
    nothing = dict.fromkeys(("found", "began", "wall_s", "effect"))
    return {**nothing, "name": name, "state": state, "owner": "", "entrypoint": "", "waits": waits} | (
        {"problem": problem} if problem else {}
    )


def _known_row(kept: KeptStudy, name: str, waits: str) -> Drawn:
    """Return the row of a study; of one that nobody ran and of which no file has changed since, as it was."""
    if kept.rests and (mark := _mark(kept)) is not None:
        row: Drawn = kept.once("row", (mark, waits), lambda: _row(kept, name, waits))
        if row["found"].driver is None:
            return row
    return _row(kept, name, waits)


def _mark(kept: KeptStudy) -> tuple[int, ...] | None:
    """Return what changes with the files of a study that the list rests on; None where that is not known.

    What is put into a directory changes its time: the lease into `control`, reports, plan and settings into
    the study's own. The journal grows.
    """
    storage, paths = kept.run.storage, kept.run.paths
    if not storage.is_local:
        return None
    try:
        found = [Path(storage.path(path)).stat() for path in (paths.root, paths.control_dir, paths.journal)]
    except OSError:
        return None
    times = (one.st_mtime_ns for one in found)
    return (*times, found[-1].st_size, found[-1].st_ino, id(kept.last_report), kept.version)


def _row(kept: KeptStudy, name: str, waits: str) -> Drawn:
    found, recorded = kept.status(), kept.recorded
    said = summary(kept, found)
    env = environment(kept)
    driven = driven_of(kept)
    wall_s = None if driven is None or said["last"] is None else driven.wall_s(said["last"])
    return {
        **said,
        "name": name,
        "ticks": visible(name) == name,  # a form sends it as it is
        "state": "waiting" if waits and found.driver is None else state_of(found),
        "waits": waits,
        "owner": env.by or "",
        "entrypoint": entrypoint_of(recorded.spec),
        "began": driven and driven.began,
        "begun": "" if driven is None else moment(driven.began),
        "wall_s": wall_s,
        "duration": "" if wall_s is None else duration(wall_s),
        "effect": _best_effect(kept, found),
    }


def environment(kept: KeptStudy) -> RecordedEnvironment:
    """Return what is recorded of the first start of a study."""
    recorded, run = kept.recorded, kept.run
    found: RecordedEnvironment = kept.once(
        "environment",
        (recorded.plan_data, recorded.code_hash),
        lambda: read_environment(run.storage, run.paths),
    )
    return found


def driven_of(kept: KeptStudy) -> Spells | None:
    """Return when a study was driven."""
    recorded = kept.recorded
    journal = recorded.journal
    # what a snapshot has passed over is searched once: a driver that begins has all of it read
    same = (journal.earlier, recorded.plan_data) if journal.earlier else recorded
    found: Spells | None = kept.once("spells", same, lambda: spells(recorded.storage, journal))
    return found


def state_of(found: StudyStanding) -> str:
    """Return what a study is, in one word."""
    if found.driver is not None:
        return "running"
    states = {cell.state for cell in found.cells}
    if TrialState.RUNNING in states:
        return "interrupted"
    if states.intersection(_LEFT):
        return "stopped"
    return "failed" if TrialState.FAILED in states else "complete"


def entrypoint_of(spec: Mapping[str, Any]) -> str:
    """Return the code that is studied, in words."""
    said = spec.get("entrypoint")
    if isinstance(said, Mapping):
        said = said.get("command", "")
    return " ".join(map(str, said)) if isinstance(said, list) else str(said)


def _best_effect(kept: KeptStudy, found: StudyStanding) -> Drawn | None:
    """Return the effect that is best for the metric, of the report in memory or on disk; None without one."""
    report = kept.last_report
    if report is not None:
        best: Drawn | None = kept.once("best", report, lambda: _best_of(report))
        return best
    storage, path = kept.run.storage, kept.run.paths.effects_json
    entry = storage.look_up(path)
    if entry is None or entry.is_dir or entry.size > _LARGEST:
        return None
    same = (entry.size, tuple(found.counts().items()))
    kept_best: Drawn | None = kept.once("best on disk", same, lambda: _best_on_disk(storage, path))
    return kept_best


def _best_on_disk(storage: Storage, path: str) -> Drawn | None:
    try:
        said = read_json(storage, path, _EFFECTS)
    except (OrchestratorError, FileNotFoundError):
        return None  # the study's page has its effects, and the report can be written anew
    return _best(said.mode, said.effects)


def _best_of(report: StudyReport) -> Drawn | None:
    found = [
        _Effect(one.arm, one.kind, one.n, one.delta, one.lo, one.hi, one.verdict)
        for one in report.first.effects
    ]
    return _best(report.mode, found)


def _best(mode: str, effects: Sequence[_Effect]) -> Drawn | None:
    """`better`: how much better than the reference, whatever direction is good."""
    sign = 1.0 if mode == "max" else -1.0
    there = [(sign * one.delta, one) for one in effects if one.kind == "main" and one.delta is not None]
    there = [(better, one) for better, one in there if one.n > 0 and isfinite(better)]
    if not there:
        return None
    better, one = max(there, key=lambda found: found[0])
    return {
        "better": better,
        "arm": one.arm,
        "delta": number(one.delta),
        "interval": interval(one.lo, one.hi),
        "verdict": one.verdict,
    }
