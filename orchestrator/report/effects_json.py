"""`effects.json`: the report for programs, as docs/effects.schema.json says; and writing both files."""

from __future__ import annotations

import json
import math
from typing import Any

from orchestrator.record.layout import StudyPaths
from orchestrator.record.storage import Storage
from orchestrator.report.markdown import to_markdown
from orchestrator.report.model import ArmReport, StudyReport


def to_json(report: StudyReport) -> dict[str, Any]:
    """Plain data with the keys of the schema; Δ and lo < hi in the metric's units, null where there is none.

    `goal` belongs to a rule that this version does not have: always null. Costs are trained lengths in the
    study's unit, `saved` is a share of the grid.
    """
    sample = report.reference.summary
    data = {
        "study": report.study,
        "metric": report.metric,
        "mode": report.mode,
        "rule": report.rule,
        "goal": None,
        "tier": report.tier,
        "alpha": report.alpha,
        "margin": report.margin,
        "baseline": {"arm": sample.arm, "n": sample.n, "mean": sample.mean, "sd": sample.sd},
        "effects": [_effect(arm) for arm in report.arms],
        "pairing": {"rho": report.pairing.rho, "variance_saved": report.pairing.variance_saved},
        "cost": {"spent": report.cost.spent, "grid": report.cost.grid, "saved": report.cost.saved},
        "complete": report.complete,
    }
    return {key: _finite(value) for key, value in data.items()}


def _effect(arm: ArmReport) -> dict[str, Any]:
    effect = arm.effect
    if effect is None:
        raise ValueError(f"{arm.arm} is the reference: it has no effect")
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
        "runs": len(arm.runs),
        "failed": arm.failed,
        "wall_s": arm.wall_s,
        "gpu_s": arm.gpu_s,
    }


def _finite(value: Any) -> Any:
    """JSON has no NaN and no infinity."""
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_report(storage: Storage, paths: StudyPaths, report: StudyReport) -> None:
    """Write `effects.json` and `report.md` into the study's directory, each atomically."""
    text = json.dumps(to_json(report), indent=2, ensure_ascii=False, allow_nan=False)
    storage.write_atomic(paths.effects_json, f"{text}\n")
    storage.write_atomic(paths.report_md, to_markdown(report))
