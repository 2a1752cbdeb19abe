"""The Hugging Face example with two workers, one of which is killed and goes on."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable

import pytest
from workbench import REPOSITORY, Bench

pytestmark = [
    pytest.mark.ray,
    pytest.mark.long,
    pytest.mark.skipif(importlib.util.find_spec("transformers") is None, reason="needs transformers"),
]

STUDY = """\
name: hf
entrypoint: hf_trainer:train
metric: {name: val/accuracy, mode: max}
stopping: {rule: none, max: 3, unit: epoch}
baseline:
  model: {hidden: 16, layers: 1, dropout: 0.1}
  data: {batch_size: 64}
  optim: {lr: 5e-3, weight_decay: 0.01, warmup: 0}
components:
  hidden: {swap: {tiny: {model.hidden: 2}}}
seeds: 1
resources: {workers: 2}
"""
KILL = """

import os
import signal

_make_report = Report.on_save


def _die_once(self, args, state, *rest, **more):
    mark = Path(SIGNS) / "died"
    if state.epoch > 1.5 and ray.train.get_context().get_world_rank() == 1 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    _make_report(self, args, state, *rest, **more)


Report.on_save = _die_once
"""


def test_two_workers_of_which_one_dies(shared_bench: Callable[..., Bench]) -> None:
    study = shared_bench(None, STUDY)
    module = study.code / "hf_trainer.py"
    shutil.copy(REPOSITORY / "trials" / "hf_trainer.py", module)
    module.write_text(module.read_text() + KILL.replace("SIGNS", repr(str(study.signs))))
    finished = study.run()
    assert finished.code == 0, finished.err
    results = study.results()
    assert sorted(row["attempts"] for row in results.values()) == [1, 2]
    for arm in ("baseline", "hidden=tiny"):
        assert [row["epoch"] for row in study.rows(arm)] == [1, 2, 3]
    assert results["baseline", 0]["value"] > results["hidden=tiny", 0]["value"]
    assert len({event["lane"] for event in study.events("end")}) == 1
