"""A LightningModule in the form of Lightning's own starter, unchanged: `check`, `ablate`, a killed run."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable

import pytest
from workbench import Bench

pytestmark = [
    pytest.mark.ray,
    pytest.mark.long,
    pytest.mark.skipif(importlib.util.find_spec("lightning") is None, reason="needs lightning"),
    pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="needs wandb"),
]

STUDY = """\
name: {name}
entrypoint: lit:LitAutoEncoder
metric: {{name: val_loss, mode: min, also: [train_loss]}}
stopping: {{rule: none, max: {epochs}, unit: epoch}}
baseline: {{model: {{latent: 8}}, optim: {{learning_rate: 1e-2}}, trainer: {{gradient_clip_val: 0.5}}}}
components:
  latent: {{swap: {{one: {{model.latent: 1}}}}}}
seeds: 1
resources: {{workers: {workers}}}
loggers: [tensorboard, wandb]
"""


@pytest.fixture(
    scope="module",
    params=[pytest.param(1, marks=pytest.mark.long), 2],
    ids=["one worker", "two workers"],
)
def study(request: pytest.FixtureRequest, shared_bench: Callable[..., Bench]) -> Bench:
    workers: int = request.param
    made = shared_bench("lit", STUDY.format(name=f"lit-{workers}", epochs=4, workers=workers))
    finished = made.run()
    assert finished.code == 0, finished.err
    assert "fresh workers" not in finished.err  # neither Lightning nor a logger leaves anything behind
    return made


def test_every_epoch_is_reported_and_the_arms_differ(study: Bench) -> None:
    for arm in ("baseline", "latent=one"):
        rows = study.rows(arm)
        assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
        steps = 8 if study.study().spec.resources.workers == 1 else 4
        assert [row["step"] for row in rows] == [steps * epoch for epoch in (1, 2, 3, 4)]
        assert rows[-1]["val_loss"] < rows[0]["val_loss"]
    results = study.results()
    assert results["baseline", 0]["value"] < results["latent=one", 0]["value"]


def test_one_worker_group_runs_all_trials(study: Bench) -> None:
    lanes = [event["lane"] for event in study.events("assign")]
    assert len(set(lanes)) <= 2 if study.study().spec.resources.workers == 1 else len(set(lanes)) == 1
    assert not study.events("failure")


def test_wandb_has_a_run_per_trial(study: Bench) -> None:
    folder = study.trial_file("baseline", 0, "trial.json").parents[3] / "wandb"
    assert len(list(folder.glob("offline-run-*"))) == len(study.plan().cells)


def test_check_asks_what_a_lightning_module_can_answer(study: Bench) -> None:
    if study.study().spec.resources.workers > 1:
        pytest.skip("the same gates as with one worker")
    out = str(study.signs / "checks")
    finished = study.call("check", "--config", str(study.file), "--out", out, "--json")
    assert finished.code == 0, finished.err
    states = {gate["gate"]: gate["verdict"]["state"] for gate in json.loads(finished.out)["gates"]}
    asked = {gate for gate, state in states.items() if state == "pass"}
    assert asked == {"A1", "A2", "A3", "A8", "A10", "A11", "A12"}
    assert set(states.values()) == {"pass", "skipped"}


def test_a_killed_worker_continues_the_same_curve(study: Bench, shared_bench: Callable[..., Bench]) -> None:
    workers = study.study().spec.resources.workers
    if workers == 1:
        pytest.skip("with two workers, which is harder")
    killed = shared_bench("lit", STUDY.format(name=f"lit-{workers}", epochs=4, workers=workers))
    source = killed.module.read_text()
    killed.module.write_text(source + KILL.replace("SIGNS", repr(str(killed.signs))))
    finished = killed.run()
    assert finished.code == 0, finished.err
    assert killed.results()["baseline", 0]["attempts"] == 2
    assert killed.curve("baseline") == study.curve("baseline")
    folder = killed.trial_file("baseline", 0, "trial.json").parents[3] / "wandb"
    identities = [path.name.split("-", 3)[3] for path in folder.glob("offline-run-*")]
    cell = next(cell.cell for cell in killed.plan().cells if cell.arm == "baseline")
    assert len({identity for identity in identities if identity.startswith(cell)}) == 1


KILL = """

import os
import pathlib
import signal

_epoch_start = LitAutoEncoder.on_train_epoch_start


def _die_once(self):
    mark = pathlib.Path(SIGNS) / "died"
    if self.current_epoch == 2 and self.hparams.latent == 8 and self.global_rank == 0 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    _epoch_start(self)


LitAutoEncoder.on_train_epoch_start = _die_once
"""
