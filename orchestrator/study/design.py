"""Designs by name. What one is, `designs.base` says; none is imported before it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.study.plugins import Registry

if TYPE_CHECKING:
    from orchestrator.study.designs.base import Design
    from orchestrator.study.spec import StudySpec


def _is_design(thing: object) -> bool:
    from orchestrator.study.designs.base import Design

    return isinstance(thing, Design)


DESIGNS: Registry[Design] = Registry(
    "design",
    "orchestrator.designs",
    {
        "leave-one-out": "orchestrator.study.designs.compared:LEAVE_ONE_OUT",
        "add-one-in": "orchestrator.study.designs.compared:ADD_ONE_IN",
        "pairs": "orchestrator.study.designs.compared:PAIRS",
        "factorial": "orchestrator.study.designs.crossed:FACTORIAL",
        "fractional": "orchestrator.study.designs.crossed:FRACTIONAL",
    },
    _is_design,
)


def design_of(spec: StudySpec) -> Design:
    """Return the design of a study."""
    return DESIGNS.get(spec.design)
