"""How many cells a study needs, and the refusal of one that needs too many."""

from __future__ import annotations

from orchestrator.study.faults import Path, Problem
from orchestrator.study.registered import design_of
from orchestrator.study.search import samples_per_arm
from orchestrator.study.spec import StudySpec


def cells_per_arm(spec: StudySpec) -> int:
    """Run of one arm: its seeds, once per phase that evaluates it, and the samples of its search.

    `goal: reinvest` moves seeds between arms, its budget is the seeds of the file in every arm.
    """
    return len(spec.phases) * len(spec.seeds) + samples_per_arm(spec)


def size_problem(spec: StudySpec, arms: int, later: int = 0) -> Problem | None:
    """Return the refusal of a study with more cells than `max_cells`, or None.

    Args:
        arms: arms that are planned from the start; a count above what fits may itself have been cut off.
        later: arms that results may call for (`interactions: auto`).
    """
    total = (arms + later) * cells_per_arm(spec)
    if total <= spec.max_cells:
        return None
    count, exact = design_of(spec).needs(spec, arms)
    at_least = "" if exact else "more than "
    seeds = "1 seed" if len(spec.seeds) == 1 else f"{len(spec.seeds)} seeds"
    parts = [seeds + (", fixed and retuned" if len(spec.phases) > 1 else "")]
    if samples_per_arm(spec):
        parts.append(f"{samples_per_arm(spec):,} samples")
    pairs = f", of them {later:,} pairs that interactions: auto may add" if later else ""
    total = (count + later) * cells_per_arm(spec)
    message = (
        f"{at_least}{total:,} cells are needed ({at_least}{count + later:,} arms{pairs}; "
        f"{' and '.join(parts)} each), but max_cells allows {spec.max_cells:,}"
    )
    return Problem(_place(spec), message, hint=_ways_out(spec, total, exact=exact))


def _place(spec: StudySpec) -> Path:
    if "max_cells" in spec.model_fields_set:
        return ("max_cells",)
    if design_of(spec).many_arms:
        return ("design",)
    return ("tune",) if samples_per_arm(spec) > len(spec.seeds) else ("seeds",)


def _ways_out(spec: StudySpec, total: int, *, exact: bool) -> str:
    ways = []
    smaller = design_of(spec).smaller(spec)
    ways += [smaller] if smaller else []
    if samples_per_arm(spec):
        ways.append("fewer samples")
    ways.append("fewer seeds")
    ways.append(f"max_cells: {total}" if exact else "a larger max_cells")
    return "use " + ", ".join(ways[:-1]) + f", or {ways[-1]}"
