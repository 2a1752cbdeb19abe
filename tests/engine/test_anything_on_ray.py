"""Whatever trials report through real lanes, the study ends with its results and its report."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from workbench import Bench

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.long]

STUDY = """\
name: anything
entrypoint: anything:train
metric: {name: loss, mode: min}
stopping: {rule: none, max: 50, unit: epoch}
baseline: {level: 1.0}
components: {level: {swap: {raises: {level: 2.0}}}}
seeds: [0, 1, 2]
failures: {max_retries: 0, stop_when: never}
"""


def test_three_hundred_reports_cost_no_study(shared_bench: Callable[[str, str], Bench]) -> None:
    study = shared_bench("anything", STUDY)
    finished = study.run()
    assert finished.code == 1, finished.err  # the arm that raises has failed
    rows = study.results()
    assert {rows["baseline", seed]["state"] for seed in range(3)} == {"done"}
    assert {rows["level=raises", seed]["cause"] for seed in range(3)} == {"user"}
    assert sum(len(study.rows(arm, seed)) for arm in ("baseline", "level=raises") for seed in range(3)) == 300
    assert (
        json.loads(study.call("report", "anything", "--storage", str(study.storage_root), "--json").out)[
            "study"
        ]
        == "anything"
    )
    for form in ("--markdown", "--latex"):
        assert study.call("report", "anything", "--storage", str(study.storage_root), form).code == 0
