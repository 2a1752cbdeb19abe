"""Reports of examples are right about what is planted: one arm that must hurt, one that does nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from planted import NOT_DIFFERENT, verdicts

from orchestrator.stats.results import HURTS


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize(
    ("study", "hurts", "nothing"),
    [
        ("charlm", "text=typos", "numbering=descending"),
        ("digits-planted", "labels=wrong", "numbering=descending"),
        ("tabular", "targets=shuffled", "columns=reversed"),
    ],
)
def test_the_report_is_right(study: str, hurts: str, nothing: str, tmp_path: Path, shared_ray: str) -> None:
    said = verdicts(study, tmp_path, shared_ray)
    assert said[hurts] == HURTS
    assert said[nothing] in NOT_DIFFERENT
