"""State of torch and numpy that is more than a value: random states, precision, groups, CUDA memory."""

from __future__ import annotations

import contextlib
import random
import sys
from collections import OrderedDict
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.distributed.distributed_c10d as c10d
import torch.utils._device

from orchestrator.engine.clean_slate.parts import Contents, Name, Noticed, StatePart, Value, flag, places

_numpy: Any = np.random  # two of its functions are not declared
_PRECISION_OPS = (
    ("generic", "all"),
    *((backend, op) for backend in ("cuda", "mkldnn") for op in ("all", "conv", "rnn", "matmul")),
)


class RandomStates:
    """The global generators of python, numpy, torch and every CUDA device."""

    name = "random states"

    def __init__(self) -> None:
        self._python, self._torch = random.getstate(), torch.get_rng_state()
        self._bits, self._numpy = _numpy.get_bit_generator(), _numpy.get_state(legacy=False)
        self._seed = torch.initial_seed()
        self._cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None

    def restore(self) -> None:
        random.setstate(self._python)
        if _numpy.get_bit_generator() is not self._bits:
            _numpy.set_bit_generator(self._bits)
        _numpy.set_state(self._numpy)
        torch.set_rng_state(self._torch)
        if self._cuda is not None:
            torch.cuda.set_rng_state_all(self._cuda)
        elif torch.cuda.is_initialized():  # first used by a trial: what it would have started with
            torch.cuda.manual_seed_all(self._seed)


class DefaultDevice:
    """`torch.set_default_device` of the calling thread, its process-wide shadow, the default tensor type."""

    name = "default device"

    def __init__(self) -> None:
        self._type_device = torch._C._get_default_device()
        self._context = self._now()
        self._shadow = Name("", torch.utils._device, "CURRENT_DEVICE")

    def _now(self) -> Any:
        context = getattr(torch._GLOBAL_DEVICE_CONTEXT, "device_context", None)
        return None if context is None else context.device

    def restore(self) -> None:
        if self._now() != self._context:
            torch.set_default_device(self._context)
        self._shadow.restore()
        if torch._C._get_default_device() != self._type_device:
            tensors: Any = torch if self._type_device == "cpu" else torch.cuda
            torch._C._set_default_tensor_type(tensors.FloatTensor)


def first_settings() -> Iterator[StatePart]:
    """Yield what has to be put back before every other setting."""
    # `torch.backends.disable_global_flags` makes every other flag unwritable
    scope = torch.backends.disable_global_flags.__globals__
    frozen = "__allow_nonbracketed_mutation_flag"
    yield Value("torch.backends.flags_frozen", partial(scope.get, frozen), partial(scope.__setitem__, frozen))
    yield DefaultDevice()  # before the default type: it goes through the same place
    yield Value("flush denormal", _flushes_denormals, torch.set_flush_denormal, always=True)
    # can be set once in the life of a process
    words = "interop threads are {now}, were {was}"
    yield Noticed("interop threads", torch.get_num_interop_threads, words)


def _flushes_denormals() -> bool:
    """Ask a denormal number: the setting has no reader."""
    return bool(torch.tensor(1e-310, dtype=torch.float64, device="cpu") * 1.0 == 0.0)


def precision() -> Iterator[StatePart]:
    """Matmul and convolution precision: the old interface, then the new one that both are kept in."""
    # The old interface raises when only the new one was used so far, and could not express it.
    with contextlib.suppress(RuntimeError):
        yield Value("float32 matmul", torch.get_float32_matmul_precision, torch.set_float32_matmul_precision)
    read = getattr(torch._C, "_get_fp32_precision_getter", None)
    if read is None:  # torch before 2.9
        yield from places(flag, ("torch.backends.cudnn.allow_tf32", "torch.backends.cuda.matmul.allow_tf32"))
        return
    write = torch._C._set_fp32_precision_setter
    for backend, op in _PRECISION_OPS:
        yield Value(f"fp32_precision {backend}.{op}", partial(read, backend, op), partial(write, backend, op))


def global_hooks() -> Iterator[StatePart]:
    """Hooks on all modules and all optimizers."""
    for path in ("torch.nn.modules.module", "torch.optim.optimizer"):
        module = sys.modules.get(path)
        for name, value in list(vars(module).items()) if module is not None else ():
            if name.startswith("_global_"):
                kind = Contents if isinstance(value, OrderedDict) else Name
                yield kind(f"{path}.{name}", module, name)


def thread_modes() -> Iterator[StatePart]:
    """Grad mode and autocast of the calling thread."""
    yield Value("grad mode", torch.is_grad_enabled, torch._C._set_grad_enabled)
    yield Value("autocast cache", torch.is_autocast_cache_enabled, torch.set_autocast_cache_enabled)
    for device in ("cpu", "cuda"):
        read, write = torch.is_autocast_enabled, torch.set_autocast_enabled
        yield Value(f"autocast {device}", partial(read, device), partial(write, device))
        dtype, set_dtype = torch.get_autocast_dtype, torch.set_autocast_dtype
        yield Value(f"autocast type {device}", partial(dtype, device), partial(set_dtype, device))


def last_settings() -> Iterator[StatePart]:
    """Yield settings whose writer takes the value apart, or that are written in any case."""
    yield Value(
        "deterministic algorithms",
        lambda: (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
        ),
        lambda value: torch.use_deterministic_algorithms(value[0], warn_only=value[1]),
    )
    yield Value(
        "anomaly detection",
        lambda: (torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()),
        lambda value: torch.set_anomaly_enabled(*value),
    )
    # Always: torch's number is one per process, OpenMP's one per thread, and only the writer sets both.
    yield Value("threads", torch.get_num_threads, torch.set_num_threads, always=True)
    yield Compiler()


class ProcessGroups:
    """Groups that the trial made are destroyed; the default one must still be the same.

    Torch's counter of groups is left alone: a name that is used twice finds the addresses of the first group
    in the store, and hangs.
    """

    name = "process groups"

    def __init__(self) -> None:
        self._default, self._groups = self._now()

    @staticmethod
    def _now() -> tuple[Any, list[Any]]:
        return c10d.GroupMember.WORLD, list(c10d._world.pg_map)

    def restore(self) -> list[str]:
        default, groups = self._now()
        if default is not self._default:
            return ["the default process group was " + ("destroyed" if default is None else "replaced")]
        for group in groups:
            if group is not default and not any(group is known for known in self._groups):
                c10d.destroy_process_group(group)
        gone = [known for known in self._groups if not any(known is group for group in groups)]
        return ["a process group of the lane was destroyed"] if gone else []


class Compiler:
    """Compiled code and its guards; a profiler that was left on cannot be ended without its owner."""

    name = "torch._dynamo"

    def restore(self) -> list[str]:
        dynamo: Any = sys.modules.get("torch._dynamo")
        if dynamo is not None:
            dynamo.reset()
        on = getattr(torch.autograd.profiler, "_is_profiler_enabled", False)
        return ["a torch profiler is still running"] if on else []


class CudaMemory:
    """Memory on the cards is released; what remains allocated beyond the snapshot is reported."""

    name = "CUDA memory"
    tolerance_bytes = 64 * 2**20
    """What libraries keep (workspaces)."""

    def __init__(self) -> None:
        self._device = torch.cuda.current_device() if torch.cuda.is_initialized() else 0
        self._allocated = self._now()

    @staticmethod
    def _now() -> dict[int, int]:
        if not torch.cuda.is_initialized():
            return {}
        return {device: torch.cuda.memory_allocated(device) for device in range(torch.cuda.device_count())}

    def restore(self) -> list[str]:
        if not torch.cuda.is_initialized():
            return []
        torch.cuda.synchronize()  # raises what the trial's last kernels did wrong
        torch.cuda.set_device(self._device)
        clear_workspaces = getattr(torch._C, "_cuda_clearCublasWorkspaces", None)
        if clear_workspaces is not None:
            clear_workspaces()
        torch.cuda.empty_cache()
        left = []
        for device, now in self._now().items():
            extra = now - self._allocated.get(device, 0)
            if extra > self.tolerance_bytes:
                left.append(f"cuda:{device} holds {extra / 2**20:.0f} MiB more than before the trial")
            torch.cuda.reset_peak_memory_stats(device)
        return left
