"""`effects.json`: the report for programs, as docs/effects.schema.json says."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from orchestrator.reporting.compare import by_seed
from orchestrator.reporting.headline import headline
from orchestrator.reporting.model import Comparison, ReportedEvaluation, StudyReport
from orchestrator.reporting.standing import picked
from orchestrator.reporting.words import failed, here_only
from orchestrator.stats.results import Effect, Sample

_REGISTERED = ("study", "metric", "mode", "rule", "goal", "tier", "alpha", "margin")
_TESTED = (
    *("arm", "kind", "reference", "n", "delta", "lo", "hi", "p", "p_holm", "method"),
    *("verdict", "flags"),
)
_SIZED = ("sd", "se", "df", "wide_lo", "wide_hi", "p_equivalent")
"""What is written of an effect under its own name, before and behind what its runs say."""
EFFECT_IN_JSON = (
    *_TESTED,
    *("runs", "failed", "wall_s", "gpu_s", "components", "seeds", "differences"),
    *_SIZED,
    *("p_plain", "p_permutation", "q", "wins", "percent", "d_sd", "g_z", "p_failures"),
    *("look", "early", "seeds_needed", "trial_dir", "label", "level", "also"),
)
"""Keys of an effect, in their order; `new_data` comes behind them where scores were kept."""


def to_json(report: StudyReport) -> dict[str, Any]:
    """Plain data with the keys of the schema; Δ and lo < hi in the metric's units, null where there is none.

    `baseline`, `effects`, `pairing` are those of the evaluation to be read first, `phase` names it; a second
    one is in `others`. Costs are trained lengths in the study's unit, `saved` is a share of the grid.
    """
    first, cost = report.first, report.ledger
    data = {
        **picked(report, _REGISTERED),
        **_evaluation(report, first),
        "cost": picked(cost, ("spent", "grid", "saved")),
        "complete": report.complete,
        "phase": first.phase,
        "others": [{"phase": other.phase, **_evaluation(report, other)} for other in report.evaluations[1:]],
        "tuning_dependent": [found.arm for found in report.tuning_dependent],
        "tuned": [
            {"arm": tuned.arm, "samples": tuned.samples, "set": dict(tuned.settings), "value": tuned.value}
            for tuned in report.tuned
        ],
        "aliases": report.aliases,
        "design": report.design,
        "unit": report.unit,
        "max": report.max_length,
        "seeds": report.seeds,
        "looks": report.looks,
        "plan_hash": report.plan_hash,
        "commit": report.provenance.commit,
        "dirty": report.provenance.dirty,
        "notes": report.notes,
        "remarks": report.remarks,
        "headline": headline(report),
        "at": report.at,
        "selected_by": report.selected_by,
        "shared": [file.to_json() for file in report.shared],
    }
    return _finite(data)


def effect_rows(report: StudyReport) -> list[dict[str, Any]]:
    """Every effect of every phase as one flat row, the phase to be read first in front."""
    return [
        _finite({"phase": evaluation.phase, **_effect(report, evaluation, effect)})
        for evaluation in report.evaluations
        for effect in evaluation.all_effects
    ]


def _evaluation(report: StudyReport, evaluation: ReportedEvaluation) -> dict[str, Any]:
    reference = report.reference.arm
    return {
        "baseline": {**asdict(evaluation.samples[reference]), "also": _also(evaluation, reference)},
        "effects": [_effect(report, evaluation, effect) for effect in evaluation.all_effects],
        "pairing": picked(evaluation.pairing, ("rho", "variance_saved")),
    }


def _effect(report: StudyReport, evaluation: ReportedEvaluation, effect: Effect) -> dict[str, Any]:
    runs = report.behind(effect, evaluation.phase)
    return {
        **picked(effect, _TESTED),
        "runs": len(runs),
        "failed": failed(runs),
        "wall_s": math.fsum(run.wall_s for run in runs),
        "gpu_s": math.fsum(run.gpu_s for run in runs),
        "components": effect.components,
        "seeds": effect.seeds,
        "differences": list(by_seed(report, evaluation, effect).values()),
        **picked(effect, _SIZED),
        "p_plain": effect.plain and effect.plain.p,
        "p_permutation": effect.p_permutation,
        "q": effect.q,
        "wins": effect.wins and asdict(effect.wins),
        **picked(effect, ("percent", "d_sd", "g_z")),
        "p_failures": effect.failures and effect.failures.p,
        **picked(effect, ("look", "early", "seeds_needed")),
        "trial_dir": report.folder_of(effect),
        "label": label_of(report, effect),
        "level": None if report.averaged else _level(evaluation.samples.get(effect.arm)),
        "also": {} if report.averaged else _also(evaluation, effect.arm),
        **_new_data(evaluation, effect),
    }


def _new_data(evaluation: ReportedEvaluation, effect: Effect) -> dict[str, Any]:
    """Return the interval for new seeds and new data; no key where no scores were kept."""
    found = evaluation.new_data.get(effect.arm)
    return (
        {}
        if found is None
        else {"new_data": {**asdict(found), "claim_holds": not here_only(evaluation, effect)}}
    )


def label_of(report: StudyReport, effect: Effect) -> str | None:
    """Return what people call an effect, where the study says."""
    called = report.called(effect)
    return None if called == effect.arm else called


def _level(sample: Sample | None) -> dict[str, Any] | None:
    """Return an arm in absolute numbers; None for what is no arm, such as an interaction."""
    return None if sample is None else picked(sample, ("n", "mean", "sd"))


def _also(evaluation: ReportedEvaluation, arm: str) -> dict[str, Any]:
    """Return the other metrics of an arm, where its runs counted."""
    return {name: _level(by_arm[arm]) for name, by_arm in evaluation.beside.items() if arm in by_arm}


def comparison_json(found: Comparison) -> dict[str, Any]:
    """Two studies side by side: `gap` is second − first, null where there is none."""
    sides = ((found.first, found.ours), (found.second, found.theirs))
    document = {
        "studies": [
            {
                **picked(report, ("study", "location")),
                "phase": evaluation.phase,
                "plan_hash": report.plan_hash,
                "commit": report.provenance.commit,
                "complete": report.complete,
            }
            for report, evaluation in sides
        ],
        "metric": found.first.metric,
        "alpha": found.first.alpha,
        "effects": [
            {
                "arm": row.arm,
                "first": row.first and _effect(found.first, found.ours, row.first),
                "second": row.second and _effect(found.second, found.theirs, row.second),
                "gap": row.gap and asdict(row.gap),
                **picked(row, ("verdicts_differ", "disagree")),
            }
            for row in found.differences
        ],
        "notes": found.notes,
    }
    return _finite(document)


def _finite(found: dict[str, Any]) -> dict[str, Any]:
    """Return what JSON has: lists for tuples, null for what is not finite."""
    return {key: _plain(value) for key, value in found.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return _finite(value)
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
