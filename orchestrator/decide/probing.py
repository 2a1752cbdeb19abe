"""What the first reports of the first trials say of a study, before its other trials start."""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from orchestrator.decide.seeds import same_numbers
from orchestrator.study.cells import Plan
from orchestrator.study.faults import nearest

Reports = Sequence[Mapping[str, Any]]
"""The first reports of a trial."""
FEW = 3
"""Reports after which something can be said: one alone may be that of a model that has learnt nothing yet."""
SHARE = 0.1
"""Of the full length: a trial that has reported no metric until then never does."""
HOLD_S = 600.0
"""How long other trials wait for the first report of those that were called."""
_ALIKE = 0.85


def asked(plan: Plan) -> tuple[str, ...]:
    """Return the cells of the reference whose first reports are waited for: its first two."""
    return tuple(cell.cell for cell in plan.cells if cell.arm == plan.reference)[:2]


def first_cells(plan: Plan) -> frozenset[str]:
    """Return the cells that start at once: those, and the first one of every other arm."""
    others = {cell.arm: cell.cell for cell in reversed(plan.cells) if cell.arm != plan.reference}
    return frozenset((*asked(plan), *others.values()))


def still_open(metric: str, under_way: Sequence[Reports], seeds: Sequence[Reports]) -> bool:
    """Whether the first reports of the reference's trials do not yet say that the study can work.

    Args:
        metric: what the study compares.
        under_way: the reports of each of them that runs.
        seeds: those of two that differ in the seed alone, ended or not; none where they need not differ.
    """
    if not all(any(row.get(metric) is not None for row in rows) for rows in under_way):
        return True
    common = min((FEW, *map(len, seeds))) if len(seeds) > 1 else 0
    return 0 < common < FEW and same_numbers(seeds[0][:common], seeds[1][:common])


def misnamed(metric: str, names: Collection[str]) -> str | None:
    """Return a name that is the metric's but for case, separators or a typing error; None: there is none."""
    if metric in names:
        return None
    plain = {name: _letters(name) for name in names}
    close = difflib.get_close_matches(_letters(metric), plain.values(), n=1, cutoff=_ALIKE)
    return next((name for name in names if plain[name] in close), None)


def _letters(name: str) -> str:
    return "".join(filter(str.isalnum, name.lower()))[:100]


def wrong_unit(unit: str, length: float, full: float) -> str | None:
    """Say what is wrong with the length of a first report, in `unit`s of which `full` are asked for."""
    if unit not in ("epoch", "step") or length <= 2 * full:
        return None
    return (
        f"the first report is at {unit} {length:g}, but a trial has {full:g} (stopping.max). Count something "
        f"else (stopping.unit), or set stopping.max to what the code counts as {unit!r}"
    )


def never_measured(metric: str, names: Sequence[str], *, reports: int, share: float) -> str | None:
    """Say that a trial does not report the metric; None while it still may.

    Args:
        metric: the name of what the study compares.
        names: what it has reported instead.
        reports: how many it has made without the metric.
        share: how far it is, of the full length.
    """
    near = misnamed(metric, names)
    if reports < FEW or share >= 1 or (near is None and share < SHARE):
        return None
    far = f"{reports} reports" + ("" if near else f" and {math.floor(100 * share)} % of the length")
    hint = f"did you mean {near}?" if near else nearest(metric, names)
    return (
        f"{metric!r} is in none of the first {far}; reported: {', '.join(names[:20])}; {hint} "
        "Set metric.name to what is reported; if it comes later, start with --no-check"
    )
