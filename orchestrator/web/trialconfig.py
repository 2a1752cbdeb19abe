"""What the config of a trial has otherwise than the baseline's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from orchestrator.errors import OrchestratorError
from orchestrator.record.recorded import RecordedStudy
from orchestrator.reporting.plain import setting
from orchestrator.study.changes import MISSING, apply, leaves
from orchestrator.study.designs import searched_config
from orchestrator.study.plan import Cell
from orchestrator.study.secrets import MASK, looks_secret, masked
from orchestrator.study.visible import shortened, visible

MOST_SETTINGS = 200
MOST_LETTERS = 300
NOT_SET = "not set"

Difference = tuple[str, Any, Any]
"""Dotted key, value in the baseline, value here; MISSING where there is none."""


def config_difference(baseline: Mapping[str, Any], config: Mapping[str, Any]) -> list[Difference]:
    """Return the settings in which two nested configs differ, in the order of the baseline.

    `1`, `1.0`, `true` and `"1"` are four values; NaN is itself.
    """
    before, now = dict(leaves(baseline)), dict(leaves(config))
    found = []
    for key in dict.fromkeys((*before, *now)):
        old, new = before.get(key, MISSING), now.get(key, MISSING)
        if _told(old) != _told(new):
            found.append((key, old, new))
    return found


def config_of(study: RecordedStudy, cell: Cell) -> Mapping[str, Any]:
    """Return the config of a cell, with what a search has chosen for it."""
    arm = study.plan.arm(cell.arm)
    if not cell.set:
        return arm.config
    try:
        return searched_config(study.study, arm, cell.set)
    except OrchestratorError:  # a package of the study is missing here: references are as in the arm
        return apply(arm.config, cell.set)
    except (LookupError, TypeError):  # a plan that somebody has written by hand
        return arm.config


def shown_setting(key: str, value: Any, known: tuple[str, ...]) -> str:
    """Return a setting for people: bounded, without what would act, and without secrets."""
    if value is MISSING:
        return NOT_SET
    if looks_secret(key, value):
        return MASK
    return shortened(visible(masked(" ".join(setting(value).split()), known)), MOST_LETTERS)


def _told(value: Any) -> str:
    return "" if value is MISSING else json.dumps(value, sort_keys=True, default=repr)
