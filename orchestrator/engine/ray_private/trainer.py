"""The trial actor's side: a Ray Train trainer whose controller runs in the actor itself."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import ray
from ray.train.v2._internal.execution.controller import TrainController
from ray.train.v2._internal.execution.scaling_policy.fixed import FixedScalingPolicy
from ray.train.v2._internal.execution.worker_group import WorkerGroup, state, worker_group
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

from orchestrator.engine.ray_private.backend import LaneTorchConfig
from orchestrator.engine.ray_private.head import EMBEDDED
from orchestrator.engine.ray_private.light import GroupOfOne, PackedHandle


class _LanePolicy(FixedScalingPolicy):
    """The fixed policy without the autoscaling coordinator: the placement group itself asks for nodes."""

    def _maybe_send_resource_request(self) -> None: ...

    def after_controller_start(self, train_run_context: Any) -> None: ...


class _LaneGroup(WorkerGroup):
    @staticmethod
    def _get_worker_runtime_env(custom_runtime_env: Any) -> Any:
        """On an embedded Ray: none, so that workers come from Ray's pool instead of fresh processes.

        They inherit the variables from the driver anyway.
        """
        if os.environ.get(EMBEDDED) and not custom_runtime_env:
            return {}
        return WorkerGroup._get_worker_runtime_env(custom_runtime_env)

    def _create_placement_group(self, scaling_config: Any, worker_group_context: Any) -> Any:
        """Ray's, made known to the message actor, which frees it if this process is killed."""
        handle = super()._create_placement_group(scaling_config, worker_group_context)
        lane = self._train_run_context.train_loop_config
        me = PackedHandle.of(ray.get_runtime_context().current_actor)
        lane["broker"].holds.remote(lane["lane"], handle.placement_group, me)
        return handle


class _LaneController(TrainController):
    worker_group_cls = _LaneGroup


class LaneTrainer(DataParallelTrainer):
    """Ray's `TorchTrainer`, with its controller in a thread of the calling actor."""

    def _create_default_callbacks(self) -> list[Any]:
        unwanted = {"PlacementGroupCleanerCallback", "WorkingDirectorySetupCallback"}
        if not self.datasets:
            unwanted.add("DatasetsCallback")  # an actor of its own
        return [
            callback
            for callback in super()._create_default_callbacks()
            if type(callback).__name__ not in unwanted
        ]

    def _initialize_and_run_controller(self, **arguments: Any) -> Any:
        arguments["scaling_policy"] = _LanePolicy(self.scaling_config)
        if self.scaling_config.num_workers == 1:
            _no_synchronization_actor()

        async def run() -> Any:
            self.controller = _LaneController(**arguments)
            await self.controller.run()
            return self.controller.get_result()

        return asyncio.run(run())

    def abort(self) -> None:
        """End the worker group at once and free its placement group."""
        controller = getattr(self, "controller", None)
        group = getattr(controller, "_worker_group", None)
        if group is not None and group.has_started():
            group.abort()


def _no_synchronization_actor() -> None:
    """Let worker groups of this process (one lane) do without the actor."""
    end_actor = state._shutdown_sync_actor

    def shut_down(actor: Any) -> None:
        if not isinstance(actor, GroupOfOne):
            end_actor(actor)

    worker_group.SynchronizationActor = GroupOfOne
    state._shutdown_sync_actor = shut_down


def lane_trainer(
    loop: Any, config: dict[str, Any], use_gpu: bool, *, trains: bool = True, **configs: Any
) -> LaneTrainer:
    """Return the trainer of one lane; its worker group lives until `loop` returns on every rank.

    `loop` is called with `config`; `trains`: the workers do, and not a program that they start; `configs`:
    `scaling_config` and `run_config` of Ray Train.
    """
    backend = LaneTorchConfig(use_gpu=use_gpu, trains=trains)
    return LaneTrainer(loop, train_loop_config=config, backend_config=backend, **configs)
