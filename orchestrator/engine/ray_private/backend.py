"""The torch backend of a lane, without torch in the trial actor.

Ray's `TorchConfig` imports torch where the controller runs: a second and 100 MB in every trial actor, for
nothing. The functions below run on the workers and hand over to Ray's own there.
"""

from __future__ import annotations

import os
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import ray
from ray.train._internal.utils import get_address_and_port
from ray.train.backend import Backend, BackendConfig


@dataclass
class LaneTorchConfig(BackendConfig):
    """As `TorchConfig`; NCCL on GPUs where torch was built for them, else gloo.

    `trains`: the workers themselves do; where they only start what does, they keep off its GPUs.
    """

    use_gpu: bool = False
    trains: bool = True
    timeout_s: int = 1800

    @property
    def backend_cls(self) -> type[Backend]:
        return _LaneTorchBackend

    @property
    def train_func_context(self) -> Any:
        return _on_device if self.trains else nullcontext


class _LaneTorchBackend(Backend):
    share_cuda_visible_devices = True

    def on_start(self, worker_group: Any, backend_config: LaneTorchConfig) -> None:
        address, port = worker_group.execute_single(0, get_address_and_port)
        worker_group.execute(_set_environment, address, port)
        if not backend_config.trains:
            return
        size = len(worker_group)
        use_gpu, timeout_s = backend_config.use_gpu, backend_config.timeout_s
        waiting = [
            worker_group.execute_single_async(rank, _join, rank, size, use_gpu, timeout_s)
            for rank in range(size)
        ]
        ray.get(waiting)

    def on_shutdown(self, worker_group: Any, backend_config: LaneTorchConfig) -> None:
        """Nothing: a lane's worker processes end with it."""


def _set_environment(address: str, port: int) -> None:
    from ray.train.torch.config import _set_torch_distributed_env_vars

    os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = address, str(port)
    _set_torch_distributed_env_vars()


def _join(rank: int, world_size: int, use_gpu: bool, timeout_s: int) -> None:
    import torch
    from ray.train.torch.config import _setup_torch_process_group

    backend = "nccl" if use_gpu and torch.version.cuda else "gloo"
    _setup_torch_process_group(backend, rank, world_size, "env://", timeout_s)


def _on_device() -> Any:
    """Return context that Ray's own trainer puts around the train function: the worker's GPU is current."""
    from ray.train.torch.config import TorchConfigContextManager

    return TorchConfigContextManager()
