"""A checkpoint of which a rank's part, or the manifest, is missing is never used; FSDP resumes exactly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from workbench import Bench, Finished

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.long]

STUDY = """\
name: parts
entrypoint: parts:train
metric: {name: val/accuracy, mode: max, also: [val/loss]}
baseline:
  kind: fsdp
  fault: none
  dir: '{dir}'
  data: {batch_size: 32}
  model: {width: 32, depth: 2, dropout: 0.2}
  optim: {lr: 3e-3, weight_decay: 0.01}
components:
  fsdp: {swap: {part-missing: {fault: part-missing}, no-manifest: {fault: no-manifest}}}
  ddp: {swap: {undisturbed: {kind: ddp}, no-manifest: {kind: ddp, fault: no-manifest}}}
seeds: [0]
stopping: {rule: none, max: 5, unit: epoch}
resources: {workers: 2, max_parallel: 1}
checkpoint: {every: 1, keep_best: 0, keep_latest: 5}
"""
KILLED = {
    "fsdp=part-missing": "baseline",
    "fsdp=no-manifest": "baseline",
    "ddp=no-manifest": "ddp=undisturbed",
}


@pytest.fixture(scope="module")
def study(shared_bench: Callable[[str, str], Bench]) -> Bench:
    return shared_bench("parts", STUDY)


@pytest.fixture(scope="module")
def finished(study: Bench) -> Finished:
    run = study.run()
    assert run.code == 0, run.err
    return run


def test_every_part_of_a_sharded_checkpoint_is_stored(study: Bench, finished: Finished) -> None:
    folder = study.trial_file("baseline", 0, "checkpoints/step-00000005")
    assert sorted(path.name for path in folder.iterdir()) == [
        ".metadata",
        "__0_0.distcp",
        "__1_0.distcp",
    ]


@pytest.mark.parametrize("arm", list(KILLED))
def test_what_is_not_whole_is_not_used_and_the_curve_is_the_same(
    arm: str, study: Bench, finished: Finished
) -> None:
    assert (study.signs / f"died-{arm.replace('=', '-')}").exists()
    row = study.results()[arm, 0]
    assert (row["state"], row["attempts"]) == ("done", 2)
    before = [event["name"] for event in study.events("checkpoint", arm) if event["attempt"] == 1]
    assert len(before) == 2  # the third one never was one
    where = study.paths.trial(arm, 0).checkpoint(third_of(study, arm))
    assert f"a checkpoint cannot be used: {where}: no manifest; its upload did not finish" in finished.err
    attempts = [row["attempt"] for row in study.rows(arm)]
    assert attempts == [1, 1, 2, 2, 2]  # from the second checkpoint on
    assert study.curve(arm) == study.curve(KILLED[arm])


def third_of(study: Bench, arm: str) -> str:
    """Names of checkpoints follow steps where a function reports them."""
    row = study.rows(arm)[2]
    return f"step-{int(row.get('step') or row['report']):08d}"


def test_curves_are_of_models_that_learn(study: Bench, finished: Finished) -> None:
    for arm in ("baseline", "ddp=undisturbed"):
        assert study.curve(arm)[-1]["val/accuracy"] > 0.5
    assert Path(study.trial_file("baseline", 0, "log-rank1.txt")).exists()
