"""Mistakes around user code that are told with their place, or by the name of what was called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from scene import Scene

from orchestrator.engine.checks._checkprocess import _place
from orchestrator.engine.ray_private.no_tuner import no_tuner
from orchestrator.training.gates.results import CheckRequest
from orchestrator.training.validation import score_fault

pytestmark = pytest.mark.slow  # torch and Ray Train take seconds to import


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (0.9, "acc is float, not [4]"),
        (torch.tensor(0.9), "acc is [], not [4]"),
        (torch.ones(2), "acc is [2], not [4]"),
        (torch.ones(4, 1), "acc is [4, 1], not [4]"),
        (torch.ones(4), None),
    ],
)
def test_a_score_is_one_value_per_sample(values: object, said: str | None) -> None:
    assert score_fault("acc", values, 4) == said


def test_the_place_of_an_entrypoint_is_in_the_users_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "placed_code.py").write_text("import math\n\nclass Plain: ...\nnumber = 7\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    __import__("placed_code")
    for name, line in (("Plain", 3), ("number", 4)):
        request = CheckRequest(f"placed_code:{name}", str(tmp_path), 0, (), ())
        assert _place(request, None) == (str(tmp_path / "placed_code.py"), line)


def test_a_call_of_ray_tune_names_the_one_that_counts() -> None:
    import ray.tune

    with no_tuner(0, "cell", "study"):
        with pytest.raises(RuntimeError, match=r"call ray\.train\.report"):
            ray.tune.report({"loss": 1.0})
        with pytest.raises(RuntimeError, match=r"call ray\.train\.get_checkpoint"):
            ray.tune.get_checkpoint()


@pytest.mark.slow
def test_a_trial_that_calls_ray_tune_fails_by_these_words(tmp_path: Path) -> None:
    import ray.tune

    def train(config: dict[str, Any]) -> None:
        if config["level"] == 1.0:
            ray.tune.report({"loss": 1.0})
        ray.tune.get_checkpoint()

    scene = Scene(tmp_path, seeds=1)
    scene.run(function=train)
    said = {row["arm"]: row["reason"] for row in scene.cells()}
    assert said.pop("baseline") == (
        "RuntimeError: ray.tune.report reaches nobody in a study: no Tuner runs this function; call "
        "ray.train.report"
    )
    assert set(said.values()) == {
        "RuntimeError: ray.tune.get_checkpoint knows no study; call ray.train.get_checkpoint"
    }
    assert {(row["cause"], row["attempts"]) for row in scene.cells()} == {("user", 1)}
