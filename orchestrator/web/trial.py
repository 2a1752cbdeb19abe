"""What the page of one trial shows, as plain data. It costs what one trial costs, however large its study."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from orchestrator.decide.states import TrialState
from orchestrator.errors import OrchestratorError
from orchestrator.record.checkpoints import CheckpointStore, best_first
from orchestrator.record.pictures import DrawnPicture
from orchestrator.record.state import TrialRecord
from orchestrator.record.trialhistory import Attempt
from orchestrator.reporting.curves import length_key
from orchestrator.reporting.palette import series
from orchestrator.reporting.plain import duration, length, number
from orchestrator.reporting.standing import GLYPHS
from orchestrator.study.secrets import environment_secrets, masked
from orchestrator.study.visible import gist, visible
from orchestrator.web.again import retriable, retry_of
from orchestrator.web.children import shown
from orchestrator.web.looks import reason_of, trial_address
from orchestrator.web.seentrial import SeenTrial
from orchestrator.web.tables import Asked
from orchestrator.web.trialconfig import MOST_SETTINGS, config_difference, config_of, shown_setting
from orchestrator.web.trialcurves import (
    Row,
    TrialLine,
    figure_of,
    in_words,
    points_of,
    scalar_names,
    takeovers,
)

ASKED_OF_A_TRIAL = ("cell", "scalars_first")
MOST_FIGURES = 12
"""Scalars on a page; the others are on the next one."""
MOST_PICTURES, MOST_CHECKPOINTS, MOST_ATTEMPTS, MOST_WARNINGS = 12, 50, 50, 5
LOG_BYTES, LOG_READ = 40_000, 64_000
"""Of the end of a log: shown, and searched for secrets that begin before it."""

Drawn = dict[str, Any]


def depends_on(seen: SeenTrial, root: Path) -> tuple[object, ...]:
    """Return all that the page of a trial is drawn from: while it is the same, so is the page."""
    other, plan = seen.reference, seen.kept.recorded.plan
    return (
        *(seen.record, seen.found.driver, seen.found.metric, seen.found.unit, plan.hash, len(plan.cells)),
        *(seen.files, seen.gone, len(seen.attempts()), seen.attempts()[-1:]),
        *(other and (other.record, other.tables), _retry(seen, root)),
    )


def look_at_trial(seen: SeenTrial, asked: Asked, root: Path) -> Drawn:
    """Return everything for the page of a trial; `root`: the directory that is served."""
    record, found = seen.record, seen.found
    begun = record.begun and not seen.gone
    return {
        "study": found.study,
        "name": record.name,
        "cell": record.cell,
        "glyph": GLYPHS[record.state],
        "state": record.state.value,
        "runs": found.driver is not None and record.state in (TrialState.RUNNING, TrialState.PENDING),
        "begun": record.begun,
        "gone": record.trial_dir if seen.gone else "",
        "reason": " ".join(reason_of(found, record).split()),
        "facts": _facts(seen),
        "files": f"files/{quote(record.trial_dir)}/" if begun else "",
        "board": _board(record),
        "others": _other_seeds(seen),
        "retry": _retry(seen, root),
        **_scalars(seen, asked),
        **_config(seen),
        "checkpoints": _checkpoints(seen) if begun else {"rows": [], "warnings": [], "more": 0},
        "attempts": [_attempt(one) for one in seen.attempts()[-MOST_ATTEMPTS:]],
        "pictures": _pictures(seen) if begun else {"shown": [], "all": 0, "too_long": []},
        "log": _log(seen) if begun else None,
    }


def figure(seen: SeenTrial, ident: str) -> Drawn | None:
    """Return the figure of one scalar; None where the trial has none with that id. Raises `StudyError`."""
    key, axis = length_key(seen.found.unit), seen.found.unit
    rows = seen.rows()
    read: Callable[[SeenTrial], Sequence[Row]] = SeenTrial.rows
    name = _called(ident, rows)
    if name is None:
        rows, key, axis, read = seen.steps(), "step", "step", SeenTrial.steps
        name = _called(ident, rows)
    if name is None:
        return None
    other = seen.reference
    theirs = None if other is None else points_of(read(other), name, key)
    line = None if other is None or not theirs else TrialLine(other.record.name, _colour(other), theirs)
    own = TrialLine(seen.record.name, _colour(seen), points_of(rows, name, key))
    return figure_of(name, axis, own, line, takeovers(rows, key))


def _id(name: str) -> str:
    """Return what stands for the name of a scalar in addresses, however long it is and whatever it holds."""
    return sha256(name.encode(errors="backslashreplace")).hexdigest()[:12]


def _called(ident: str, rows: Sequence[Row]) -> str | None:
    return next((name for name in scalar_names(rows) if _id(name) == ident), None)


def picture(seen: SeenTrial, file: str, start: str) -> bytes | None:
    """Return the PNG file at a place of an event file; None where none was found there."""
    reader = seen.pictures()
    for one in reader.newest_first():
        if (one.file, str(one.start)) == (file, start):
            with suppress(FileNotFoundError):
                return reader.content(one)
    return None


def _colour(seen: SeenTrial) -> str:
    return series(seen.found.arms.index(seen.record.arm))


def _facts(seen: SeenTrial) -> list[tuple[str, str]]:
    """Return (what, text) in the order of the page."""
    one, found = seen.record, seen.found
    return [
        ("arm", one.arm),
        ("seed", str(one.seed)),
        ("phase", one.phase if one.sample is None else f"{one.phase}, sample {one.sample}"),
        ("length", f"{length(one.length, found.unit)} of {number(found.max_length)}"),
        (found.metric_of(one), _value(one.value)),
        *((name, _value(value)) for name, value in one.beside.items() if isinstance(value, int | float)),
        ("time", duration(one.wall_s if one.begun else None)),
        ("GPU time", duration(one.gpu_s or None)),
        *([("ran on", ", ".join(one.devices))] if one.devices else []),
        *([("code", "changed, and accepted")] if one.accepted_code_change else []),
    ]


def _value(value: float | None) -> str:
    return number(value).replace("-", "−")


def _board(record: TrialRecord) -> str:
    """Return where TensorBoard shows this trial alone; it names runs by their directories."""
    run = record.trial_dir.partition("/")[2]
    return f"tensorboard/?runFilter={quote(f'^{re.escape(run)}$')}#timeseries"


def _other_seeds(seen: SeenTrial) -> list[tuple[str, str, str]]:
    """(where, name, address) of the same arm's runs before and after this one, of the same phase."""
    mine = [cell for cell in seen.kept.recorded.plan.by_arm[seen.record.arm] if cell.phase == seen.cell.phase]
    place = mine.index(seen.cell)
    near = (("previous", place - 1), ("next", place + 1))
    there = [(where, mine[other]) for where, other in near if 0 <= other < len(mine)]
    return [(where, cell.name, trial_address(cell.cell)) for where, cell in there]


def _retry(seen: SeenTrial, root: Path) -> str:
    """Return the command that runs it again; nothing where that cannot be done now."""
    run, found = seen.kept.run, seen.found
    can: Mapping[str, TrialRecord] = seen.kept.once("retriable", found, lambda: retriable(run, found))
    if seen.record.cell not in can:
        return ""
    return shown(retry_of(run, root, seen.record, accepts=False))


def _scalars(seen: SeenTrial, asked: Asked) -> Drawn:
    """`scalars`: (id, address of the figure, what it says) of those on this page, the metric first."""
    empty: Drawn = {
        "scalars": [],
        "scalars_all": 0,
        "scalars_first": 0,
        "scalars_before": "",
        "scalars_next": "",
    }
    empty |= {"scalars_problem": "", "steps_left_out": seen.steps_left_out}
    try:
        rows, steps = seen.rows(), seen.steps()
    except OrchestratorError as error:
        return {**empty, "scalars_problem": gist(str(error))}
    reported = scalar_names(rows)
    first_ones = [name for name in (seen.found.metric, seen.found.claimed) if name in reported]
    names = [*dict.fromkeys((*first_ones, *reported)), *scalar_names(steps, reported)]
    start = min(asked.number("scalars_first"), max(0, len(names) - 1)) // MOST_FIGURES * MOST_FIGURES
    key = length_key(seen.found.unit)

    def drawn(name: str) -> Drawn:
        points = points_of(rows, name, key) if name in reported else points_of(steps, name, "step")
        query = urlencode({"cell": seen.record.cell, "of": _id(name)}, errors="replace")
        said = in_words(name, points)
        values = {what: _value(getattr(said, what)) for what in ("first", "last", "least", "most")}
        return {
            "id": _id(name),
            "source": f"trial/curves.json?{query}",
            "name": name,
            "n": said.points,
            **values,
        }

    def part(at: int) -> str:
        return f"{asked.but(scalars_first=at)}#curves" if 0 <= at < len(names) else ""

    return {
        **empty,
        "scalars": [drawn(name) for name in names[start : start + MOST_FIGURES]],
        "scalars_all": len(names),
        "scalars_first": start,
        "scalars_before": part(start - MOST_FIGURES),
        "scalars_next": part(start + MOST_FIGURES),
    }


def _config(seen: SeenTrial) -> Drawn:
    """`config`: (key, in the baseline, here) of what differs; `reference`: the arm that has the baseline."""
    study, known = seen.kept.recorded, environment_secrets()
    baseline = study.plan.arm(study.plan.reference).config
    found = config_difference(baseline, config_of(study, seen.cell))
    rows = [
        (key, shown_setting(key, old, known), shown_setting(key, new, known))
        for key, old, new in found[:MOST_SETTINGS]
    ]
    return {"config": rows, "config_more": len(found) - len(rows), "reference": study.plan.reference}


def _checkpoints(seen: SeenTrial) -> Drawn:
    """`rows`: newest first, each with what it is kept for; `warnings`: of those that cannot be used."""
    return dict(seen.once("checkpoints", (seen.files, seen.record.attempts), lambda: _kept_ones(seen)))


def _kept_ones(seen: SeenTrial) -> Drawn:
    store = CheckpointStore(seen.kept.run.storage, seen.paths)
    try:
        found = store.complete()
    except OrchestratorError as error:
        return {"rows": [], "warnings": [gist(str(error))], "more": 0}
    best = next((one.name for one in best_first(found)), "")
    rows = [
        {
            "name": one.name,
            "at": length(one.length, seen.found.unit),
            "step": one.step,
            "value": _value(one.value),
            "bytes": sum(one.files.values()),
            "what": ", ".join(
                word for word, is_it in (("newest", one is found[-1]), ("best", one.name == best)) if is_it
            ),
        }
        for one in reversed(found[-MOST_CHECKPOINTS:])
    ]
    return {"rows": rows, "warnings": store.warnings[:MOST_WARNINGS], "more": len(found) - len(rows)}


def _attempt(one: Attempt) -> Drawn:
    resumed = "the beginning" if one.resumed is None else f"step {one.resumed}"
    where = " · ".join(word for word in (one.group, one.node, ", ".join(one.devices)) if word)
    why = ": ".join(" ".join(word.split()) for word in (one.cause, one.reason) if word)
    return {
        "number": one.number,
        "began": _when(one.began),
        "ended": _when(one.ended),
        "state": one.state or "no end is recorded",
        "where": where,
        "resumed": resumed,
        "why": why,
        "asked_by": one.asked_by or "",
    }


def _when(t: float | None) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(t)) if t else ""
    except (ValueError, OverflowError):
        return ""


def _pictures(seen: SeenTrial) -> Drawn:
    reader = seen.pictures()
    try:
        found = reader.newest_first()
    except OrchestratorError as error:
        return {"shown": [], "all": 0, "too_long": [gist(str(error))]}

    def drawn(one: DrawnPicture) -> Drawn:
        query = urlencode({"cell": seen.record.cell, "file": one.file, "at": one.start}, errors="replace")
        return {"src": f"trial/picture?{query}", "alt": f"{one.tag}, step {one.step}"}

    shown_ones = [drawn(one) for one in found[:MOST_PICTURES]]
    return {
        "shown": shown_ones,
        "all": len(found),
        "too_long": [f"{name}: too long" for name in reader.too_long],
    }


def _log(seen: SeenTrial) -> Drawn:
    """`text`: its end, without secrets and what would act; `all`: bytes; `href`: the whole file."""
    path = seen.paths.log()
    href = f"files/{quote(seen.record.trial_dir)}/log.txt"
    try:
        data, size = seen.kept.run.storage.read_end(path, LOG_READ)
    except (OrchestratorError, FileNotFoundError) as error:
        return {"text": "", "all": 0, "href": "", "problem": gist(str(error)), "cut": False}
    lines = re.sub("\r\n?", "\n", data.decode("utf-8", errors="replace"))  # as `orchestrate logs` prints it
    text = visible(masked(lines, environment_secrets()))
    end = text[-LOG_BYTES:]
    cut = size > len(data) or len(end) < len(text)
    if cut:  # from the first whole line on
        end = end.partition("\n")[2] or end
    return {"text": end, "all": size, "href": href if size else "", "problem": "", "cut": cut}
