"""Every private name of Ray that the project touches; `tests/engine/test_ray_private.py` watches them.

Two things need them (Ray 2.60):

* **A trial inside a long-lived worker group.** `ray.train.report` and its siblings are bound to the group's
  only run. `bind_trial` gives the process's internal train context another run config, storage and
  checkpoint for the duration of a trial and replaces `report` (`set_train_fn_utils` is the place that
  Ray's own docstring names for this).
* **A slim trainer.** `TorchTrainer.fit` spends a process each on its controller and on a placement-group
  cleaner, and registers with an autoscaling coordinator: three processes and several seconds per lane.
  `SlimTorchTrainer` runs the same controller inside the trial actor. The placement group is released by
  the lane; when the trial actor dies, Ray frees it with its owner.

When Ray changes under us, `slim_trainer_available` turns false and lanes use the stock `TorchTrainer`.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

import ray
from ray.train import Checkpoint, RunConfig
from ray.train.torch import TorchTrainer
from ray.train.v2._internal.execution.context import get_train_context
from ray.train.v2._internal.execution.storage import StorageContext
from ray.train.v2._internal.execution.train_fn_utils import (
    DistributedTrainFnUtils,
    get_train_fn_utils,
    set_train_fn_utils,
)

ReportFn = Callable[..., None]

# The controller of a lane reads these when it is built. Set in the trial actor's own process.
LANE_ENVIRONMENT = {
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # a process per lane; nodes that drain are seen by the driver
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",  # a trial's output goes to its log.txt
    "RAY_TRAIN_ENABLE_CONTROLLER_STRUCTURED_LOGGING": "0",
    "RAY_TRAIN_ENABLE_WORKER_STRUCTURED_LOGGING": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}


def configure_lane_process(health_check_interval_s: float) -> None:
    """Set what Ray Train reads from the environment in the process that runs the controller."""
    os.environ.update(LANE_ENVIRONMENT)
    os.environ["RAY_TRAIN_HEALTH_CHECK_INTERVAL_S"] = str(health_check_interval_s)


class _TrialFnUtils(DistributedTrainFnUtils):
    """`ray.train.*` of one trial: everything from Ray, but `report` and the list of checkpoints from us."""

    def __init__(self, report: ReportFn, reported: Callable[[], list[Any]]) -> None:
        self._report = report
        self._reported = reported

    def report(
        self, metrics: dict[str, Any], checkpoint: Checkpoint | None = None, *args: Any, **kwargs: Any
    ) -> None:
        self._report(metrics, checkpoint, *args, **kwargs)

    def get_all_reported_checkpoints(self, *_: Any, **__: Any) -> list[Any]:
        return self._reported()


@contextmanager
def bind_trial(
    *,
    name: str,
    storage_path: str,
    filesystem: Any,
    checkpoint: Checkpoint | None,
    config: Mapping[str, Any],
    report: ReportFn,
    reported: Callable[[], list[Any]],
) -> Iterator[None]:
    """Bind `ray.train.*` of this process to one trial, and put everything back afterwards.

    Args:
        name: the trial's name, seen as `get_context().get_experiment_name()`.
        storage_path: the trial's parent directory on `filesystem`.
        checkpoint: what `ray.train.get_checkpoint()` returns.
        report: called as `ray.train.report` is.
        reported: answers `ray.train.get_all_reported_checkpoints()`.
    """
    context = get_train_context()
    saved_utils = get_train_fn_utils()
    saved = (context.train_run_context, context.storage_context, context.checkpoint)
    storage = StorageContext(storage_path, name, storage_filesystem=filesystem, read_only=True)
    run_config = RunConfig(name=name, storage_path=storage_path, storage_filesystem=filesystem)
    context.train_run_context = replace(
        context.train_run_context, run_config=run_config, train_loop_config=dict(config)
    )
    context.storage_context = storage
    context.checkpoint = checkpoint
    set_train_fn_utils(_TrialFnUtils(report, reported))
    try:
        yield
    finally:
        set_train_fn_utils(saved_utils)
        context.train_run_context, context.storage_context, context.checkpoint = saved


def set_latest_checkpoint(checkpoint: Checkpoint) -> None:
    """What `ray.train.get_checkpoint()` returns from now on in this trial."""
    get_train_context().checkpoint = checkpoint


def _no_autoscaling_policy(scaling_config: Any) -> Any:
    """The fixed policy without the autoscaling coordinator: the placement group itself asks for nodes."""
    from ray.train.v2._internal.execution.scaling_policy.fixed import FixedScalingPolicy

    class LanePolicy(FixedScalingPolicy):
        def _maybe_send_resource_request(self) -> None: ...

        def after_controller_start(self, train_run_context: Any) -> None: ...

    return LanePolicy(scaling_config)


class SlimTorchTrainer(TorchTrainer):
    """A `TorchTrainer` whose controller runs in a thread of the calling actor."""

    def _create_default_callbacks(self) -> list[Any]:
        return [
            callback
            for callback in super()._create_default_callbacks()
            if type(callback).__name__
            not in {"PlacementGroupCleanerCallback", "WorkingDirectorySetupCallback"}
        ]

    def _initialize_and_run_controller(self, **arguments: Any) -> Any:
        from ray.train.v2._internal.execution.controller import TrainController

        arguments["scaling_policy"] = _no_autoscaling_policy(self.scaling_config)

        async def run() -> Any:
            controller = TrainController(**arguments)
            self.controller = controller
            await controller.run()
            return controller.get_result()

        return asyncio.run(run())

    def abort(self) -> None:
        """End the worker group at once and free its placement group."""
        controller = getattr(self, "controller", None)
        group = getattr(controller, "_worker_group", None)
        if group is not None and group.has_started():
            group.abort()


def slim_trainer_available() -> bool:
    """Whether the names that `SlimTorchTrainer` builds on are still there."""
    try:
        from ray.train.v2._internal.execution.controller import TrainController
        from ray.train.v2._internal.execution.scaling_policy.fixed import FixedScalingPolicy
    except ImportError:
        return False
    needed = (
        hasattr(TorchTrainer, "_initialize_and_run_controller"),
        hasattr(TorchTrainer, "_create_default_callbacks"),
        hasattr(TrainController, "run"),
        hasattr(TrainController, "get_result"),
        hasattr(FixedScalingPolicy, "_maybe_send_resource_request"),
    )
    return all(needed)


def lane_trainer(*args: Any, **kwargs: Any) -> TorchTrainer:
    """A `TorchTrainer` for one lane: slim where Ray allows it, else the stock one."""
    trainer = SlimTorchTrainer if slim_trainer_available() else TorchTrainer
    return cast("TorchTrainer", trainer(*args, **kwargs))


def keep_idle_actors(tune_controller: Any, trial: Any, lanes: int) -> bool:
    """Let Tune keep up to `lanes` idle trial actors (warm lanes) beyond those that a pending trial asks for.

    Without this Tune ends every second lane when two trials end at the same moment. Returns False when Ray
    has changed and the cache is not there: lanes are then started again where Tune ended them.
    """
    cache = getattr(tune_controller, "_actor_cache", None)
    if cache is None or not hasattr(cache, "increase_max"):
        return False
    cache.increase_max(trial.placement_group_factory, by=lanes)
    return True


def current_worker_handle() -> Any:
    """The handle of the actor that this code runs in."""
    return ray.get_runtime_context().current_actor


def train_thread_count() -> int:
    """How many threads of this process exist; used to see leftovers."""
    return threading.active_count()
