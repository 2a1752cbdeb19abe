"""A lane as Tune sees it: a class Trainable, kept between trials, that owns one Ray Train worker group."""

from __future__ import annotations

import logging
import tempfile
import threading
import uuid
from typing import Any

import ray
from ray import tune

from orchestrator.engine.messages import Assignment, LaneCondemned, RunFacts, TrialEnded
from orchestrator.engine.ray_private.head import configure_lane_process

log = logging.getLogger(__name__)

LANE_CHECK_S = 1.0
CLOSE_TIMEOUT_S = 5.0


class Lane(tune.Trainable):
    """Runs one trial after the other on the same workers (`reuse_actors=True`, `reset_config`).

    A Tune result stands for what Tune has to see: a rung that was reached, or the trial's end. Everything
    else goes round it.
    """

    def setup(self, config: dict[str, Any], broker: Any = None, facts: RunFacts | None = None) -> None:
        assert broker is not None
        assert facts is not None
        self.lane = f"slot-{uuid.uuid4().hex[:8]}"
        self.broker, self.facts = broker, facts
        self.assignment: Assignment | None = config["assignment"]
        self.error: BaseException | None = None
        self.trainer: Any = None
        opened = broker.open_lane.remote(self.lane, facts.spec.resources.workers)
        self.thread = threading.Thread(target=self._serve, name="orchestrator-lane", daemon=True)
        self.thread.start()
        ray.get(opened)

    def _serve(self) -> None:
        """Keep the worker group up until the lane is closed."""
        configure_lane_process()
        try:
            shunned = ray.get(self.broker.shunned.remote())
            self.trainer = _trainer(self.broker, self.lane, self.facts, shunned)
            self.trainer.fit()
        except BaseException as error:
            log.exception("the worker group of %s ended", self.lane)
            self.error = error

    def step(self) -> dict[str, Any]:
        """Wait for what Tune has to see next.

        The first trial of a new lane is taken here and not in `setup`: until Tune calls `step` it may give
        the trial to a lane that has become idle, and end this one.
        """
        if self.assignment is not None:
            ray.get(self.broker.take.remote(self.lane, self.assignment))
            self.assignment = None
        waiting = self.broker.next_event.remote(self.lane)
        while True:
            ready, _ = ray.wait([waiting], timeout=LANE_CHECK_S)
            if ready:
                break
            if not self.thread.is_alive():
                raise RuntimeError(f"the worker group of {self.lane} is gone: {self.error!r}") from self.error
        event = ray.get(waiting)
        if isinstance(event, LaneCondemned):
            raise RuntimeError(f"{self.lane} ends: {event.reason}")
        return {"event": event, "done": isinstance(event, TrialEnded)}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next trial. A lane without workers takes it too: `step` fails then, and Tune hears of it.

        (False would end the trial in Tune without a word to its scheduler.)
        """
        self.assignment = None
        ray.get(self.broker.take.remote(self.lane, new_config["assignment"]))
        return True

    def cleanup(self) -> None:
        """Let the workers go, and make sure that their placement group is free."""
        ray.get(self.broker.close_lane.remote(self.lane))
        self.thread.join(CLOSE_TIMEOUT_S)
        if self.thread.is_alive() and hasattr(self.trainer, "abort"):
            self.trainer.abort()

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: trials keep their own checkpoints."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing: trials find their own checkpoints."""


def _trainer(broker: Any, lane: str, facts: RunFacts, shunned: tuple[str, ...]) -> Any:
    from ray.train import FailureConfig, RunConfig, ScalingConfig

    from orchestrator.engine.workers import lane_loop

    try:
        from orchestrator.engine.ray_private.trainer import lane_trainer
    except ImportError:  # Ray has moved something: slower to start, the same otherwise
        log.warning("this version of Ray lacks a name that lanes build on; using the stock TorchTrainer")
        lane_trainer = _stock_trainer

    asked, use_gpu = facts.spec.resources, facts.gpus_per_worker > 0
    resources = {"CPU": asked.cpus_per_worker} | ({"GPU": facts.gpus_per_worker} if use_gpu else {})
    return lane_trainer(
        lane_loop,
        {"broker": broker, "lane": lane, "facts": facts},
        use_gpu,
        trains=isinstance(facts.spec.entrypoint, str),
        scaling_config=ScalingConfig(
            num_workers=asked.workers,
            use_gpu=use_gpu,
            resources_per_worker=resources,
            accelerator_type=asked.accelerator_type,
            label_selector={"ray.io/node-id": f"!in({','.join(shunned)})"} if shunned else None,
        ),
        run_config=RunConfig(
            name=lane,
            storage_path=tempfile.gettempdir(),
            # a worker that dies is replaced for ever: retries of trials are counted by the driver
            failure_config=FailureConfig(max_failures=-1, controller_failure_limit=-1),
        ),
    )


def _stock_trainer(
    loop: Any, config: dict[str, Any], use_gpu: bool, *, trains: bool = True, **configs: Any
) -> Any:
    """As `ray_private.trainer.lane_trainer`, by public names: more processes, a slower start."""
    del trains  # its workers join a process group in any case
    import torch
    from ray.train.torch import TorchConfig, TorchTrainer

    backend = "nccl" if use_gpu and torch.version.cuda else "gloo"
    return TorchTrainer(loop, train_loop_config=config, torch_config=TorchConfig(backend=backend), **configs)
