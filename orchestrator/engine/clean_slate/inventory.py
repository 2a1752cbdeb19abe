"""The inventory: every kind of state that a trial may leave behind, in the order in which it is put back."""

from __future__ import annotations

import locale
import multiprocessing
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from orchestrator.engine.clean_slate import interpreter, process, torch_state
from orchestrator.engine.clean_slate.parts import Contents, Name, StatePart, Value, flag, places, values


def _of(owner: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{owner}.{name}" for name in names)


NAMES = (
    *_of("sys", "stdin", "stdout", "stderr", "excepthook", "unraisablehook", "displayhook", "breakpointhook"),
    *_of("sys", "dont_write_bytecode", "tracebacklimit"),
    "threading.excepthook",
    "tempfile.tempdir",
    "torch.nn.parallel.distributed.DistributedDataParallel._active_ddp_module",
    "torch.distributions.distribution.Distribution._validate_args",
    "torch.hub._hub_dir",
)
CONTENTS = ("sys.path", "sys.argv", "sys.path_hooks", "torch._tensor_str.PRINT_OPTS.__dict__")
FLAGS = (
    *_of("torch.backends.cudnn", "enabled", "benchmark", "benchmark_limit", "deterministic"),
    "torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction",
    "torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction",
    "torch.backends.cuda.matmul.allow_fp16_accumulation",
    *_of("torch.backends.mkldnn", "enabled", "deterministic"),
    *_of("torch.backends.opt_einsum", "enabled", "strategy"),
    "torch.backends.quantized.engine",
    "torch.utils.deterministic.fill_uninitialized_memory",
)
GETTERS = (
    *_of("sys", "getrecursionlimit", "getswitchinterval", "get_int_max_str_digits", "gettrace", "getprofile"),
    *_of("threading", "gettrace", "getprofile"),
    "socket.getdefaulttimeout",
    *_of("numpy", "geterrcall", "getbufsize"),
    "torch.get_default_dtype",
    *_of("torch._C", "_get_linalg_preferred_backend", "_get_blas_preferred_backend", "_get_nnpack_enabled"),
    "torch.backends.mha.get_fastpath_enabled",
    "torch.multiprocessing.get_sharing_strategy",
    "torch.__future__.get_overwrite_module_params_on_conversion",
    "torch.__future__.get_swap_module_params_on_conversion",
)
"""Their setters have `set` in the place of `get`."""
PAIRS = (
    *((getter, getter.replace("get", "set")) for getter in GETTERS),
    ("torch.is_warn_always_enabled", "torch.set_warn_always"),
    *(
        (f"torch.backends.cuda.{kind}_sdp_enabled", f"torch.backends.cuda.enable_{kind}_sdp")
        for kind in ("flash", "mem_efficient", "math", "cudnn")
    ),
    (
        "torch.backends.cuda.fp16_bf16_reduction_math_sdp_allowed",
        "torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp",
    ),
)


def _parts(code_root: Path | None) -> Iterator[StatePart]:
    yield interpreter.Patches()  # first: what follows calls functions that may have been replaced
    yield from places(Name, NAMES, absent=True)
    yield from places(Contents, CONTENTS)
    yield interpreter.Environment()
    yield interpreter.Loggers()
    yield interpreter.Warnings()
    yield from process.settings()
    yield from torch_state.first_settings()
    yield from values(PAIRS)
    yield from places(flag, FLAGS)
    yield from torch_state.precision()
    yield from torch_state.global_hooks()
    yield from torch_state.thread_modes()
    yield Value("numpy.geterr", np.geterr, lambda found: np.seterr(**found))
    yield Value("numpy.get_printoptions", np.get_printoptions, lambda found: np.set_printoptions(**found))
    start_method = partial(multiprocessing.get_start_method, allow_none=True)
    yield Value("start method", start_method, partial(multiprocessing.set_start_method, force=True))
    yield Value("locale", partial(locale.setlocale, locale.LC_ALL), partial(locale.setlocale, locale.LC_ALL))
    yield from torch_state.last_settings()
    yield torch_state.ProcessGroups()
    yield interpreter.UserModules(code_root)
    yield interpreter.ImportHooks()
    yield interpreter.Garbage()  # loaders end their workers, pools their threads, when they are collected
    yield torch_state.CudaMemory()
    yield process.Threads()
    yield process.LeftChildren()
    yield torch_state.RandomStates()  # last: finalisers may draw


class ProcessState:
    """What `snapshot` captured."""

    def __init__(self, parts: Iterable[StatePart]) -> None:
        self._parts = tuple(parts)

    def restore(self) -> list[str]:
        """Put everything back; returns in words what could not be, empty when the process is as before.

        Call it when the trial's thread has ended and nothing holds the trial's objects any more. Never
        raises: a part that fails is named with its error.
        """
        left: list[str] = []
        for part in self._parts:
            try:
                left += part.restore() or ()
            except Exception as error:
                left.append(f"{part.name}: {type(error).__name__}: {error}")
        return left


def snapshot(code_root: Path | None = None) -> ProcessState:
    """Capture this process, once, after the imports that trials share.

    `code_root` is the folder of the user's code: modules imported from there later are removed by `restore`.
    Freezes the objects that exist now out of the garbage collector.
    """
    return ProcessState(_parts(code_root))
