"""`effects.json`: the report for programs, as docs/effects.schema.json says."""

from __future__ import annotations

import math
from typing import Any

from orchestrator.report.compare import by_seed
from orchestrator.report.markdown import folder_of
from orchestrator.report.model import Comparison, ReportedEvaluation, StudyReport
from orchestrator.report.words import failed
from orchestrator.stats.results import Effect


def to_json(report: StudyReport) -> dict[str, Any]:
    """Plain data with the keys of the schema; Δ and lo < hi in the metric's units, null where there is none.

    `baseline`, `effects`, `pairing` are those of the evaluation to be read first, `phase` names it; a second
    one is in `others`. Costs are trained lengths in the study's unit, `saved` is a share of the grid.
    """
    first, cost = report.first, report.ledger
    data = {
        "study": report.study,
        "metric": report.metric,
        "mode": report.mode,
        "rule": report.rule,
        "goal": report.goal,
        "tier": report.tier,
        "alpha": report.alpha,
        "margin": report.margin,
        **_evaluation(report, first),
        "cost": {"spent": cost.spent, "grid": cost.grid, "saved": cost.saved},
        "complete": report.complete,
        "phase": first.phase,
        "others": [{"phase": other.phase, **_evaluation(report, other)} for other in report.evaluations[1:]],
        "tuning_dependent": [found.arm for found in report.tuning_dependent],
        "tuned": [
            {"arm": tuned.arm, "samples": tuned.samples, "set": dict(tuned.settings), "value": tuned.value}
            for tuned in report.tuned
        ],
        "aliases": [list(group) for group in report.aliases],
        "design": report.design,
        "unit": report.unit,
        "max": report.max_length,
        "seeds": list(report.seeds),
        "looks": list(report.looks),
        "plan_hash": report.plan_hash,
        "commit": report.provenance.commit,
        "dirty": report.provenance.dirty,
        "notes": list(report.notes),
    }
    return {key: finite(value) for key, value in data.items()}


def effect_rows(report: StudyReport) -> list[dict[str, Any]]:
    """Every effect of every phase as one flat row, the phase to be read first in front."""
    return [
        finite({"phase": evaluation.phase, **_effect(report, evaluation, effect)})
        for evaluation in report.evaluations
        for effect in evaluation.all_effects
    ]


def _evaluation(report: StudyReport, evaluation: ReportedEvaluation) -> dict[str, Any]:
    sample = evaluation.samples[report.reference.arm]
    worth = evaluation.pairing
    return {
        "baseline": {"arm": sample.arm, "n": sample.n, "mean": sample.mean, "sd": sample.sd},
        "effects": [_effect(report, evaluation, effect) for effect in evaluation.all_effects],
        "pairing": {"rho": worth.rho, "variance_saved": worth.variance_saved},
    }


def _effect(report: StudyReport, evaluation: ReportedEvaluation, effect: Effect) -> dict[str, Any]:
    runs = report.behind(effect, evaluation.phase)
    wins, plain, failures = effect.wins, effect.plain, effect.failures
    return {
        "arm": effect.arm,
        "kind": effect.kind,
        "reference": effect.reference,
        "n": effect.n,
        "delta": effect.delta,
        "lo": effect.lo,
        "hi": effect.hi,
        "p": effect.p,
        "p_holm": effect.p_holm,
        "method": effect.method,
        "verdict": effect.verdict,
        "flags": list(effect.flags),
        "runs": len(runs),
        "failed": failed(runs),
        "wall_s": math.fsum(run.wall_s for run in runs),
        "gpu_s": math.fsum(run.gpu_s for run in runs),
        "components": list(effect.components),
        "seeds": list(effect.seeds),
        "differences": list(by_seed(report, evaluation, effect).values()),
        "sd": effect.sd,
        "se": effect.se,
        "df": effect.df,
        "wide_lo": effect.wide_lo,
        "wide_hi": effect.wide_hi,
        "p_equivalent": effect.p_equivalent,
        "p_plain": plain.p if plain else None,
        "p_permutation": effect.p_permutation,
        "q": effect.q,
        "wins": {"share": wins.share, "lo": wins.lo, "hi": wins.hi, "n": wins.n} if wins else None,
        "percent": effect.percent,
        "d_sd": effect.d_sd,
        "g_z": effect.g_z,
        "p_failures": failures.p if failures else None,
        "look": effect.look,
        "early": effect.early,
        "seeds_needed": effect.seeds_needed,
        "trial_dir": folder_of(report, effect),
    }


def comparison_json(found: Comparison) -> dict[str, Any]:
    """Two studies side by side: `gap` is second − first, null where there is none."""
    rows = []
    for row in found.differences:
        gap = row.gap
        rows.append(
            {
                "arm": row.arm,
                "first": row.first and _effect(found.first, found.ours, row.first),
                "second": row.second and _effect(found.second, found.theirs, row.second),
                "gap": gap
                and {
                    "delta": gap.delta,
                    "lo": gap.lo,
                    "hi": gap.hi,
                    "df": gap.df,
                    "n": gap.n,
                    "method": gap.method,
                },
                "verdicts_differ": row.verdicts_differ,
                "disagree": row.disagree,
            }
        )
    sides = ((found.first, found.ours), (found.second, found.theirs))
    document = {
        "studies": [
            {
                "study": report.study,
                "location": report.location,
                "phase": evaluation.phase,
                "plan_hash": report.plan_hash,
                "commit": report.provenance.commit,
                "complete": report.complete,
            }
            for report, evaluation in sides
        ],
        "metric": found.first.metric,
        "alpha": found.first.alpha,
        "effects": rows,
        "notes": list(found.notes),
    }
    return {key: finite(value) for key, value in document.items()}


def finite(value: Any) -> Any:
    """JSON has no NaN and no infinity."""
    if isinstance(value, dict):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
