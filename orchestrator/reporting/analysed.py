"""The report of a table of results: what there is without a study behind it, drawn by the same forms."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from orchestrator.decide.states import TrialState
from orchestrator.record.state import TrialRecord
from orchestrator.reporting import effects_json, words
from orchestrator.reporting.build import explanations
from orchestrator.reporting.caveats import caveats
from orchestrator.reporting.model import ArmReport, Ledger, Provenance, ReportedEvaluation, StudyReport
from orchestrator.reporting.numbers import out_of_range
from orchestrator.stats.analysis import Analysis

_NOTHING = Ledger((), 0.0, 0.0, 0.0, 0.0, 0.0)
_MOST_NOTED = 20
STUDYS_OWN = ("runs", "failed", "wall_s", "gpu_s", "trial_dir", "label", "also", "look", "early")
"""What only an effect of a study has in JSON."""


def report_of(found: Analysis, name: str) -> StudyReport:
    """Return the report of an analysis; `name`: what it is of, such as the file. There are no trials."""
    arms = {arm: ArmReport(arm, "arm", None, None, {}, _runs(found, arm)) for arm in found.values}
    reference = arms.pop(found.baseline)
    evaluation = ReportedEvaluation(
        phase="fixed",
        samples=found.samples,
        effects=found.effects,
        interactions=(),
        families=(tuple(arms),),
        pairing=found.pairing,
    )
    total = len(found.values) * len(found.seeds)
    report = StudyReport(
        study=name,
        metric=found.metric,
        mode=found.mode,
        unit="",
        max_length=0,
        design="leave-one-out",
        rule="none",
        goal=None,
        tier="full-length",
        alpha=found.alpha,
        margin=found.margin,
        seeds=found.seeds,
        looks=(),
        plan_hash="",
        provenance=Provenance(),
        reference=reference,
        arms=tuple(arms.values()),
        evaluations=(evaluation,),
        tuning_dependent=(),
        tuned=(),
        aliases=(),
        ledger=_NOTHING,
        ended=total,
        total=total,
        complete=True,
        notes=(*_missing(found), *explanations(found.effects)),
        location="",
        is_local=False,
    )
    return replace(report, notes=(*report.notes, *out_of_range(report)), caveats=caveats(report))


def _runs(found: Analysis, arm: str) -> tuple[TrialRecord, ...]:
    """Return a run for every seed of the table, in no directory."""
    runs = []
    for seed in found.seeds:
        value = found.values[arm].get(seed)
        state = TrialState.PENDING if value is None else TrialState.DONE
        run = TrialRecord("", arm, seed, state=state, value=value, used=value is not None)
        run.trial_dir = ""
        runs.append(run)
    return tuple(runs)


def _missing(found: Analysis) -> list[str]:
    """Name the pairs that are not there."""
    lines = []
    for arm, seeds in found.missing.items():
        reference = arm == found.baseline
        lines.append(words.lost(arm, seeds, everything=not found.values[arm], reference=reference))
    more = len(lines) - _MOST_NOTED
    return [*lines[:_MOST_NOTED], *([f"So have {more} more arms."] if more > 0 else [])]


def to_json(report: StudyReport) -> dict[str, Any]:
    """Return what `effects.json` has, without what only a study has."""
    whole = effects_json.to_json(report)
    kept = (
        "metric",
        "mode",
        "alpha",
        "margin",
        "seeds",
        "baseline",
        "effects",
        "pairing",
        "headline",
        "notes",
    )
    document = {name: whole[name] for name in kept}
    del document["baseline"]["also"]
    for effect in document["effects"]:
        for name in STUDYS_OWN:
            del effect[name]
    return document
