"""The figures of a study's page: what of its record goes into each."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from hashlib import sha256

from orchestrator.decide.states import TrialState
from orchestrator.decide.stopping import rule_of
from orchestrator.errors import OrchestratorError
from orchestrator.record.state import TrialRecord
from orchestrator.reporting.model import StudyReport
from orchestrator.web.cellfigure import CellRow, cell_figure
from orchestrator.web.curvefigure import MOST_ARMS, WEIGHTS, Axes, chosen, curve_figure, drawn
from orchestrator.web.effectfigure import effect_figure
from orchestrator.web.figures import Figure, figure, to_bytes
from orchestrator.web.kept import KeptStudy
from orchestrator.web.keptcurves import KeptCurves
from orchestrator.web.tables import Asked

MOST_RUNS = 500
"""Whose curves one figure is made of."""
Drawing = Callable[[KeptStudy, Asked], Figure]
Depends = Callable[[KeptStudy], object]
"""Returns what a figure is made of: it is drawn anew when that is another."""
_WAITS = "Effects are being worked out, and come here by themselves."


def drawn_once(kept: KeptStudy, what: str, asked: Asked) -> tuple[bytes, str]:
    """Return the JSON of a figure and its tag; worked out again when there is more of the study to show."""
    draw, depends = DRAWINGS[what]

    def work() -> tuple[bytes, str]:
        try:
            body = to_bytes(draw(kept, asked))
        except OrchestratorError as error:
            body = to_bytes(figure([], {}, str(error)))
        return body, f'"{sha256(body).hexdigest()[:16]}"'

    known: tuple[bytes, str] = kept.once(what, (depends(kept), *sorted(asked.words.items())), work)
    return known


def _curves(kept: KeptStudy, asked: Asked) -> Figure:
    """Return the curves; the tables of the chosen arms are read, and no others."""
    spec, found, report = kept.recorded.study, kept.standing, kept.report()
    reference = kept.recorded.plan.reference
    begun = [cell for cell in found.cells if cell.begun and cell.sample is None]
    phases = list(dict.fromkeys(cell.phase for cell in begun))
    phase = phases[-1] if phases else ""
    runs: dict[str, list[TrialRecord]] = {arm: [] for arm in (reference, *_others(kept, asked))}
    for cell in begun:
        if cell.arm in runs and cell.phase == phase:
            runs[cell.arm].append(cell)
    delta = _sizes(report) if isinstance(report, StudyReport) else {}
    running = {arm for arm, mine in runs.items() if any(one.state is TrialState.RUNNING for one in mine)}
    arms = [arm for arm, mine in runs.items() if mine and arm != reference]
    shown = [reference, *chosen(arms, delta, running, asked["first"])]
    kept_curves: KeptCurves = kept.once(
        "curves kept", kept.run, lambda: KeptCurves(kept.run, found.metric, found.unit)
    )
    each = max(1, MOST_RUNS // len(shown))
    weight = weight_of(asked)
    curves = {arm: drawn([kept_curves.of(cell) for cell in runs[arm][:each]], weight) for arm in shown}
    rungs = tuple(rule_of(spec).at_rungs(spec.stopping, spec.stopping.max).rungs)
    axes = Axes(found.metric, found.unit, rungs, weight, bool(asked["log"]))
    made = curve_figure(curves, reference, axes)
    if len(arms) > MOST_ARMS:
        made["words"] += f" {MOST_ARMS} of {len(arms)} arms beside the reference are drawn."
    if any(len(mine) > each for mine in runs.values()):
        made["words"] += f" Of each arm {each} seeds are read."
    return made


def _others(kept: KeptStudy, asked: Asked) -> list[str]:
    words, reference = asked["arm"].casefold(), kept.recorded.plan.reference
    return [arm for arm in kept.standing.arms if arm != reference and words in arm.casefold()]


def _sizes(report: StudyReport) -> dict[str, float]:
    return {effect.arm: effect.delta for effect in report.evaluations[0].effects if effect.delta is not None}


def weight_of(asked: Asked) -> float:
    """Return the weight of smoothing that is asked for: one of those that the page offers, or none."""
    return next((weight for weight in WEIGHTS if f"{weight:g}" == asked["smooth"]), 0.0)


def _forest(kept: KeptStudy, asked: Asked) -> Figure:
    report = kept.report()
    if report is None:
        return figure([], {}, _WAITS)
    if isinstance(report, OrchestratorError):
        return figure([], {}, str(report))
    words = asked["arm"].casefold()
    return effect_figure(report, report.evaluations[0], lambda arm: words in arm.casefold())


def _map(kept: KeptStudy, asked: Asked) -> Figure:
    found, words = kept.standing, asked["arm"].casefold()
    rows = {
        arm: kept.once(f"row of {arm}", mine, partial(CellRow.of, mine))
        for arm, mine in kept.arms().items()
        if words in arm.casefold()
    }
    return cell_figure(rows, found.claimed or found.metric)


def _all(kept: KeptStudy) -> object:
    kept.status()
    return kept.version


def _effects(kept: KeptStudy) -> object:
    kept.status()
    return kept.report()


def _states(kept: KeptStudy) -> object:
    cells = kept.status().cells
    return tuple(cell.state for cell in cells), sum(cell.attempts for cell in cells)


DRAWINGS: dict[str, tuple[Drawing, Depends]] = {
    "curves": (_curves, _all),
    "forest": (_forest, _effects),
    "map": (_map, _states),
}
"""By the names that they have in addresses."""
