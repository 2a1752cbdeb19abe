"""State of torch and numpy that is more than a value: random states, precision, groups, memory on the card.

Nothing here imports torch: a process that has not loaded it has no such state.
"""

from __future__ import annotations

import contextlib
import random
import sys
from collections import OrderedDict
from collections.abc import Iterator
from functools import partial
from typing import Any

from orchestrator.engine.clean_slate.parts import Contents, Name, Value, flags

_PRECISION_OPS = (
    ("generic", "all"),
    *((backend, op) for backend in ("cuda", "mkldnn") for op in ("all", "conv", "rnn", "matmul")),
)


def loaded(name: str) -> Any:
    """Return the module when it is imported, else None."""
    return sys.modules.get(name)


def cuda_in_use() -> bool:
    """Whether this process has touched a CUDA device."""
    torch = loaded("torch")
    return torch is not None and bool(torch.cuda.is_initialized())


class RandomStates:
    """The global generators of python, numpy, torch and every CUDA device."""

    name = "random states"

    def __init__(self) -> None:
        self._python = random.getstate()
        self._numpy, self._torch = loaded("numpy"), loaded("torch")
        if self._numpy is not None:
            self._bits = self._numpy.random.get_bit_generator()
            self._numpy_state = self._numpy.random.get_state(legacy=False)
        if self._torch is not None:
            self._torch_state = self._torch.get_rng_state()
            self._seed = self._torch.initial_seed()
        self._cuda = self._torch.cuda.get_rng_state_all() if cuda_in_use() else None

    def restore(self) -> list[str]:
        random.setstate(self._python)
        if self._numpy is not None:
            if self._numpy.random.get_bit_generator() is not self._bits:
                self._numpy.random.set_bit_generator(self._bits)
            self._numpy.random.set_state(self._numpy_state)
        if self._torch is not None:
            self._torch.set_rng_state(self._torch_state)
        if self._cuda is not None:
            self._torch.cuda.set_rng_state_all(self._cuda)
        elif cuda_in_use():
            self._torch.cuda.manual_seed_all(
                self._seed
            )  # first used by a trial: what it would have started with
        return []


class DefaultDevice:
    """`torch.set_default_device` of the calling thread, its process-wide shadow, the default tensor type."""

    name = "default device"

    def __init__(self) -> None:
        self._torch = loaded("torch")
        self._type_device = self._torch._C._get_default_device()
        self._context = self._now()
        self._shadow = Name("", loaded("torch.utils._device"), "CURRENT_DEVICE")

    def _now(self) -> Any:
        context = getattr(self._torch._GLOBAL_DEVICE_CONTEXT, "device_context", None)
        return None if context is None else context.device

    def restore(self) -> list[str]:
        if self._now() != self._context:
            self._torch.set_default_device(self._context)
        self._shadow.restore()
        if self._torch._C._get_default_device() != self._type_device:
            tensors = self._torch if self._type_device == "cpu" else self._torch.cuda
            self._torch._C._set_default_tensor_type(tensors.FloatTensor)
        return []


def backends_unfrozen() -> Iterator[Value]:
    """`torch.backends.disable_global_flags` makes every other flag unwritable: undone first."""
    backends = loaded("torch.backends")
    if backends is not None:
        scope = backends.disable_global_flags.__globals__
        flag = "__allow_nonbracketed_mutation_flag"
        yield Value(
            "torch.backends.flags_frozen", lambda: scope[flag], lambda value: scope.update({flag: value})
        )


def precision() -> Iterator[Value]:
    """Matmul and convolution precision: the old interface, then the new one that both are kept in."""
    torch = loaded("torch")
    if torch is None:
        return
    # The old interface raises when only the new one was used so far, and could not express it.
    with contextlib.suppress(RuntimeError):
        yield Value("float32 matmul", torch.get_float32_matmul_precision, torch.set_float32_matmul_precision)
    read = getattr(torch._C, "_get_fp32_precision_getter", None)
    if read is None:  # torch before 2.9
        yield from flags(("torch.backends.cudnn.allow_tf32", "torch.backends.cuda.matmul.allow_tf32"))
        return
    write = torch._C._set_fp32_precision_setter
    for backend, op in _PRECISION_OPS:
        yield Value(f"fp32_precision {backend}.{op}", partial(read, backend, op), partial(write, backend, op))


def global_hooks() -> Iterator[Contents | Name]:
    """Hooks on all modules and all optimizers."""
    for path in ("torch.nn.modules.module", "torch.optim.optimizer"):
        module = loaded(path)
        for name, value in list(vars(module).items()) if module is not None else ():
            if name.startswith("_global_"):
                kind = Contents if isinstance(value, OrderedDict) else Name
                yield kind(f"{path}.{name}", module, name)


def thread_modes() -> Iterator[Value]:
    """Grad mode and autocast of the calling thread."""
    torch = loaded("torch")
    if torch is None:
        return
    yield Value("grad mode", torch.is_grad_enabled, torch._C._set_grad_enabled)
    yield Value("autocast cache", torch.is_autocast_cache_enabled, torch.set_autocast_cache_enabled)
    for device in ("cpu", "cuda"):
        read, write = torch.is_autocast_enabled, torch.set_autocast_enabled
        yield Value(f"autocast {device}", partial(read, device), partial(write, device))
        read, write = torch.get_autocast_dtype, torch.set_autocast_dtype
        yield Value(f"autocast type {device}", partial(read, device), partial(write, device))


class FlushDenormal:
    """Has no reader: a denormal number shows it."""

    name = "flush denormal"

    def __init__(self) -> None:
        self._torch = loaded("torch")
        tiny = self._torch.tensor(1e-310, dtype=self._torch.float64, device="cpu")
        self._flushes = bool(tiny * 1.0 == 0.0)

    def restore(self) -> list[str]:
        self._torch.set_flush_denormal(self._flushes)
        return []


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
        c10d = loaded("torch.distributed.distributed_c10d")
        if c10d is None:
            return None, []
        return c10d.GroupMember.WORLD, list(c10d._world.pg_map)

    def restore(self) -> list[str]:
        default, groups = self._now()
        if default is not self._default:
            return ["the default process group was " + ("destroyed" if default is None else "replaced")]
        for group in groups:
            if group is not default and not any(group is known for known in self._groups):
                loaded("torch.distributed").destroy_process_group(group)
        gone = [known for known in self._groups if not any(known is group for group in groups)]
        return ["a process group of the lane was destroyed"] if gone else []


class Compiler:
    """Compiled code and its guards; a profiler that was left on cannot be ended without its owner."""

    name = "torch._dynamo"

    def restore(self) -> list[str]:
        dynamo = loaded("torch._dynamo")
        if dynamo is not None:
            dynamo.reset()
        profiler = loaded("torch.autograd.profiler")
        on = profiler is not None and getattr(profiler, "_is_profiler_enabled", False)
        return ["a torch profiler is still running"] if on else []


class InteropThreads:
    """Can be set once in the life of a process: noticed."""

    name = "interop threads"

    def __init__(self) -> None:
        self._read = loaded("torch").get_num_interop_threads
        self._count = self._read()

    def restore(self) -> list[str]:
        now = self._read()
        return [] if now == self._count else [f"interop threads are {now}, were {self._count}"]


class CudaMemory:
    """Memory on the cards is released; what remains allocated beyond the snapshot is reported.

    `tolerance_bytes` covers what libraries keep (workspaces); `kept_bytes` is set by the owner of data that
    stays on the card between trials on purpose.
    """

    name = "CUDA memory"
    tolerance_bytes = 64 * 2**20

    def __init__(self) -> None:
        self.kept_bytes = 0
        self._device: int | None = loaded("torch").cuda.current_device() if cuda_in_use() else None
        self._allocated = self._now()

    @staticmethod
    def _now() -> dict[int, int]:
        if not cuda_in_use():
            return {}
        cuda = loaded("torch").cuda
        return {device: cuda.memory_allocated(device) for device in range(cuda.device_count())}

    def restore(self) -> list[str]:
        if not cuda_in_use():
            return []
        torch = loaded("torch")
        torch.cuda.synchronize()  # raises what the trial's last kernels did wrong
        torch.cuda.set_device(self._device or 0)
        clear_workspaces = getattr(torch._C, "_cuda_clearCublasWorkspaces", None)
        if clear_workspaces is not None:
            clear_workspaces()
        torch.cuda.empty_cache()
        left = []
        for device, now in self._now().items():
            extra = now - self._allocated.get(device, 0) - self.kept_bytes
            if extra > self.tolerance_bytes:
                left.append(f"cuda:{device} holds {extra / 2**20:.0f} MiB more than before the trial")
            torch.cuda.reset_peak_memory_stats(device)
        return left
