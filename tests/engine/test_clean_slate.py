"""After a deliberately dirty trial everything is back, and what cannot be is named."""

from __future__ import annotations

import builtins
import contextlib
import copy
import gc
import io
import locale
import logging
import multiprocessing
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import types
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.optim.optimizer import _global_optimizer_pre_hooks, register_optimizer_step_pre_hook
from torch.utils.data import DataLoader, TensorDataset

from orchestrator.engine.clean_slate import ProcessState, inventory, snapshot
from orchestrator.engine.clean_slate.parts import find

pytestmark = pytest.mark.slow

Probe = Callable[[], Any]


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.fixture
def state(code: Path) -> Iterator[ProcessState]:
    captured = snapshot(code)
    yield captured
    captured.restore()


def put(place: Any, name: str, value: Any) -> Callable[[], None]:
    return lambda: setattr(place, name, value)


def call(function: Callable[..., Any], *args: Any, **settings: Any) -> Callable[[], Any]:
    return lambda: function(*args, **settings)


def add_logging() -> None:
    root = logging.getLogger()
    root.setLevel(5)
    root.addHandler(logging.StreamHandler(io.StringIO()))
    for handler in root.handlers:
        handler.setLevel(3)
    logging.getLogger("torch").disabled = True
    logging.getLogger("new.in.trial").addHandler(logging.StreamHandler(io.StringIO()))
    logging.getLogger("new.in.trial").propagate = False
    logging.disable(logging.INFO)
    logging.setLoggerClass(type("Own", (logging.Logger,), {}))
    logging.setLogRecordFactory(lambda *args, **kwargs: logging.LogRecord(*args, **kwargs))
    logging.captureWarnings(True)


def logging_probe() -> Any:
    new = logging.getLogger("new.in.trial")
    root = logging.getLogger()
    return (
        (root.level, root.handlers[:], [handler.level for handler in root.handlers]),
        (new.level, new.handlers[:], new.propagate, logging.getLogger("torch").disabled),
        (root.manager.disable, logging.getLoggerClass(), logging.getLogRecordFactory()),
        warnings.showwarning,
    )


def new_filters() -> None:
    warnings.filters = [*warnings.filters]  # type: ignore[misc]
    warnings.simplefilter("ignore")


def leave_catch_warnings_open() -> None:
    warnings.catch_warnings(record=True).__enter__()


def module_hooks() -> None:
    nn.modules.module.register_module_forward_hook(lambda *_: None, always_call=True)
    nn.modules.module.register_module_forward_pre_hook(lambda *_: None)
    nn.modules.module.register_module_full_backward_hook(lambda *_: None)
    nn.modules.module.register_module_module_registration_hook(lambda *_: None)


def hooks_probe() -> Any:
    scope = vars(nn.modules.module)
    return {name: copy.copy(value) for name, value in scope.items() if name.startswith("_global_")}


def start_method_probe() -> Any:
    return multiprocessing.get_start_method(allow_none=True)


def new_precision() -> None:
    torch.backends.fp32_precision = "tf32"
    torch.backends.cudnn.conv.fp32_precision = "ieee"
    torch.backends.mkldnn.matmul.fp32_precision = "bf16"


def precision_probe() -> Any:
    matmul = torch.backends.mkldnn.matmul.fp32_precision, torch.backends.cuda.matmul.fp32_precision
    return torch.backends.fp32_precision, torch.backends.cudnn.conv.fp32_precision, matmul, matmul_precision()


def matmul_precision() -> str:
    with contextlib.suppress(RuntimeError):
        return torch.get_float32_matmul_precision()
    return "mixed"


def random_probe() -> Any:
    numpy_state = str(np.random.get_state(legacy=False))
    return random.getstate(), numpy_state, torch.get_rng_state().tolist(), np.random.get_bit_generator()


def draw() -> None:
    random.random()
    np.random.set_bit_generator(np.random.PCG64(3))
    np.random.rand(3)
    torch.manual_seed(7)


def flushes_denormals() -> bool:
    return bool(torch.tensor(1e-310, dtype=torch.float64) * 1.0 == 0.0)


def set_device_and_type() -> None:
    torch.set_default_device("meta")
    torch.set_default_dtype(torch.float64)


def device_probe() -> Any:
    return torch.get_default_device(), torch.get_default_dtype(), torch.utils._device.CURRENT_DEVICE


def lower_file_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 1, hard))


def freeze_backends() -> None:
    torch.backends.cudnn.benchmark = True
    torch.backends.disable_global_flags()


def environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key != "PYTEST_CURRENT_TEST"}


def umask() -> int:
    mask = os.umask(0o22)
    os.umask(mask)
    return mask


def grad_modes() -> Any:
    return torch.is_grad_enabled(), torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")


def disturb_grad_modes() -> None:
    torch.set_grad_enabled(False)
    torch.set_autocast_enabled("cpu", True)
    torch.set_autocast_dtype("cpu", torch.float16)


def attributes(place: Any, *names: str) -> Probe:
    return lambda: [getattr(place, name, None) for name in names]


cudnn, cuda = torch.backends.cudnn, torch.backends.cuda
DDP = nn.parallel.DistributedDataParallel
ONE_CPU = {min(os.sched_getaffinity(0))} if hasattr(os, "sched_getaffinity") else set()
# name: (how a trial changes it, how to see it)
DIRT: dict[str, tuple[Callable[[], Any], Probe]] = {
    "random states": (draw, random_probe),
    "default device and dtype": (set_device_and_type, device_probe),
    "deterministic": (
        call(torch.use_deterministic_algorithms, True, warn_only=True),
        lambda: (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
        ),
    ),
    "anomaly": (call(torch.set_anomaly_enabled, True, False), torch.is_anomaly_enabled),
    "matmul precision": (call(torch.set_float32_matmul_precision, "medium"), matmul_precision),
    "fp32 precision": (new_precision, precision_probe),
    "cudnn": (put(cudnn, "benchmark", True), attributes(cudnn, "benchmark")),
    "cudnn deterministic": (put(cudnn, "deterministic", True), attributes(cudnn, "deterministic")),
    "frozen flags": (freeze_backends, lambda: (torch.backends.flags_frozen(), cudnn.benchmark)),
    "mkldnn": (call(torch.backends.mkldnn.set_flags, False), attributes(torch.backends.mkldnn, "enabled")),
    "attention": (call(cuda.enable_flash_sdp, False), cuda.flash_sdp_enabled),
    "threads": (call(torch.set_num_threads, 1 + torch.get_num_threads()), torch.get_num_threads),
    "flush denormal": (call(torch.set_flush_denormal, True), flushes_denormals),
    "grad mode and autocast": (disturb_grad_modes, grad_modes),
    "module hooks": (module_hooks, hooks_probe),
    "optimizer hooks": (
        lambda: register_optimizer_step_pre_hook(lambda *_: None),
        lambda: dict(_global_optimizer_pre_hooks),
    ),
    "active DDP": (put(DDP, "_active_ddp_module", object()), attributes(DDP, "_active_ddp_module")),
    "torch print options": (
        call(torch.set_printoptions, precision=1),
        lambda: torch._tensor_str.PRINT_OPTS.precision,
    ),
    "environment": (
        lambda: os.environ.update(HOME="elsewhere", A_NEW_ONE="1", TZ="Asia/Tokyo"),
        environment,
    ),
    "environment removed": (lambda: os.environ.pop("PATH"), environment),
    "sys.path": (lambda: sys.path.insert(0, "/nowhere"), lambda: sys.path[:]),
    "sys.path rebound": (put(sys, "path", ["/nowhere"]), lambda: (id(sys.path), sys.path[:])),
    "sys.argv": (put(sys, "argv", ["train.py", "--lr=1"]), lambda: sys.argv[:]),
    "warnings": (new_filters, lambda: (id(warnings.filters), list(warnings.filters))),
    "open catch_warnings": (
        leave_catch_warnings_open,
        lambda: (warnings.showwarning, warnings._showwarnmsg_impl, list(warnings.filters)),  # type: ignore[attr-defined]
    ),
    "logging": (add_logging, logging_probe),
    "gc": (lambda: (gc.disable(), gc.set_threshold(5)), lambda: (gc.isenabled(), gc.get_threshold())),
    "recursion limit": (call(sys.setrecursionlimit, 5000), sys.getrecursionlimit),
    "cwd": (call(os.chdir, "/"), os.getcwd),
    "umask": (call(os.umask, 0o77), umask),
    "affinity": (
        lambda: os.sched_setaffinity(0, ONE_CPU),
        lambda: sorted(os.sched_getaffinity(0)),
    ),
    "resource limits": (lower_file_limit, lambda: resource.getrlimit(resource.RLIMIT_NOFILE)),
    "excepthook": (put(sys, "excepthook", print), attributes(sys, "excepthook")),
    "thread excepthook": (put(threading, "excepthook", print), attributes(threading, "excepthook")),
    "streams": (put(sys, "stdout", io.StringIO()), attributes(sys, "stdout", "stderr")),
    "traceback limit": (put(sys, "tracebacklimit", 0), attributes(sys, "tracebacklimit")),
    "start method": (call(multiprocessing.set_start_method, "spawn", force=True), start_method_probe),
    "tempdir": (put(tempfile, "tempdir", "/nowhere"), attributes(tempfile, "tempdir")),
    "socket timeout": (call(socket.setdefaulttimeout, 3.0), socket.getdefaulttimeout),
    "locale": (call(locale.setlocale, locale.LC_ALL, "C"), lambda: locale.setlocale(locale.LC_ALL)),
    "timer": (
        call(signal.setitimer, signal.ITIMER_REAL, 3600),
        lambda: signal.getitimer(signal.ITIMER_REAL) == (0, 0),
    ),
    "numpy errors": (call(np.seterr, all="raise"), np.geterr),
    "numpy printing": (call(np.set_printoptions, precision=1), np.get_printoptions),
    "torch function": (put(torch, "relu", torch.tanh), attributes(torch, "relu")),
    "functional": (put(nn.functional, "dropout", lambda x, *_: x), attributes(nn.functional, "dropout")),
    "layer replaced": (put(nn, "ReLU", nn.GELU), attributes(nn, "ReLU")),
    "method replaced": (put(nn.Linear, "forward", lambda s, x: x), attributes(nn.Linear, "forward")),
    "method hidden": (put(nn.Linear, "__call__", lambda s, x: x), attributes(nn.Linear, "__call__")),
    "numpy function": (put(np, "mean", np.median), attributes(np, "mean")),
    "print": (put(builtins, "print", lambda *_, **__: None), attributes(builtins, "print")),
    "module deleted": (lambda: sys.modules.pop("json"), lambda: sys.modules.get("json")),
    "module replaced": (
        lambda: sys.modules.update(json=types.ModuleType("json")),
        lambda: sys.modules["json"],
    ),
}
UNCHANGED_HERE = {"affinity", "locale"}  # a machine with one CPU, a process in the C locale


@pytest.mark.parametrize("kind", DIRT)
def test_each_kind_is_put_back(kind: str, state: ProcessState) -> None:
    soil, probe = DIRT[kind]
    before = probe()
    soil()
    if kind not in UNCHANGED_HERE:
        assert probe() != before, "the test does not disturb what it tests"
    assert state.restore() == []
    assert probe() == before


def test_everything_at_once_is_put_back(state: ProcessState) -> None:
    before = {kind: probe() for kind, (_, probe) in DIRT.items()}
    for soil, _ in DIRT.values():
        soil()
    assert state.restore() == []
    assert {kind: probe() for kind, (_, probe) in DIRT.items()} == before


def test_the_inventory_names_only_what_exists() -> None:
    """A torch that renames a flag must not drop out of the inventory in silence."""
    without_cuda = {"torch.backends.cudnn.benchmark_limit"}
    optional = {"sys.tracebacklimit"}
    paths = [
        *inventory.NAMES,
        *inventory.CONTENTS,
        *inventory.FLAGS,
        *(p for pair in inventory.PAIRS for p in pair),
    ]
    places = {path: find(path) for path in paths}
    missing = {path for path, place in places.items() if place is None or not hasattr(*place)}
    assert missing <= without_cuda | optional


def learning_curve() -> list[str]:
    """Losses of a small training that draws on every global generator, as exact hexadecimal numbers."""
    features = torch.randn(64, 12)
    targets = torch.randint(0, 3, (64,))
    model = nn.Sequential(nn.Linear(12, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 3))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(3):
        for inputs, labels in DataLoader(TensorDataset(features, targets), batch_size=16, shuffle=True):
            noise = torch.as_tensor(np.random.normal(scale=0.1, size=inputs.shape), dtype=inputs.dtype)
            loss = nn.functional.cross_entropy(model(inputs + noise * random.random()), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()).hex())
    return losses


@pytest.mark.slow
def test_the_next_trial_learns_as_if_alone(state: ProcessState) -> None:
    alone = learning_curve()
    assert learning_curve() != alone
    assert state.restore() == []
    for soil, _ in DIRT.values():
        soil()
    assert state.restore() == []
    assert learning_curve() == alone


def test_user_modules_are_imported_anew(code: Path, state: ProcessState) -> None:
    (code / "my_package").mkdir()
    (code / "my_package" / "__init__.py").write_text("")
    (code / "my_package" / "counts.py").write_text("calls = 0\n")
    (code / "my_train.py").write_text("from my_package import counts\ncounts.calls += 1\n")
    library = code / ".venv" / "lib" / "site-packages" / "installed_thing.py"
    library.parent.mkdir(parents=True)
    library.write_text("")
    sys.path.append(str(library.parent))
    for _ in range(2):
        scope: dict[str, Any] = {}
        exec("import my_train, installed_thing; from my_package.counts import calls", scope)
        assert scope["calls"] == 1
        assert state.restore() == []
        assert not {"my_train", "my_package", "my_package.counts"} & set(sys.modules)
        assert sys.modules["installed_thing"] is scope["installed_thing"]
        sys.path.append(str(library.parent))
    del sys.modules["installed_thing"]


def test_a_module_of_a_package_that_stays_is_imported_anew(code: Path) -> None:
    (code / "warm").mkdir()
    (code / "warm" / "__init__.py").write_text("")
    exec("import warm")
    state = snapshot(code)
    (code / "warm" / "cold.py").write_text("value = []\n")
    scope: dict[str, Any] = {}
    exec("from warm import cold; cold.value.append(1)", scope)
    assert state.restore() == []
    exec("from warm import cold; assert cold.value == []", scope)
    assert state.restore() == []
    del sys.modules["warm"]


def test_import_hooks_of_users_go_and_of_libraries_stay(code: Path, state: ProcessState) -> None:
    (code / "my_finder.py").write_text("import sys\nclass Finder: ...\nsys.meta_path.insert(0, Finder())\n")
    before = sys.meta_path[:]
    exec("import my_finder")
    late = type("Late", (), {"__module__": "json", "find_spec": lambda *_: None})()
    sys.meta_path.append(late)
    assert state.restore() == []
    assert sys.meta_path == [*before, late]
    sys.meta_path.remove(late)


def test_warnings_show_again(state: ProcessState) -> None:
    seen: list[str] = []

    def trial() -> None:
        warnings.simplefilter("default")
        warnings.showwarning = lambda message, *_: seen.append(str(message))
        for _ in range(3):
            warnings.warn("once per trial", UserWarning, stacklevel=1)

    for _ in range(2):
        trial()
        assert state.restore() == []
    assert seen == ["once per trial"] * 2


def test_what_torch_patches_itself_is_left(state: ProcessState) -> None:
    class Subject(torch.optim.SGD):
        pass

    Subject([nn.Parameter(torch.zeros(1))], lr=0.1)
    step = Subject.step
    assert state.restore() == []
    assert Subject.step is step


@pytest.mark.long
@pytest.mark.slow
def test_compiling_leaves_nothing_that_the_next_trial_trips_over() -> None:
    """In a process of its own, since the first compilation patches torch for good."""
    script = textwrap.dedent("""
        import torch
        from orchestrator.engine.clean_slate import interpreter, snapshot
        state = snapshot()
        changed = []
        judge = interpreter._is_torchs_own
        interpreter._is_torchs_own = lambda new: judge(new) or changed.append(new)
        for _ in range(2):
            model = torch.nn.Linear(3, 3)
            compiled = torch.compile(model, backend="eager")
            optimizer = torch.optim.Adam(model.parameters())
            compiled(torch.ones(2, 3)).sum().backward()
            optimizer.step()
            assert state.restore() == []
        assert changed == [], changed
    """)
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parents[2])


def test_a_file_handler_of_the_trial_is_closed(tmp_path: Path, state: ProcessState) -> None:
    handler = logging.FileHandler(tmp_path / "own.log")
    logging.getLogger("user").addHandler(handler)
    assert state.restore() == []
    assert handler.stream is None


def test_extra_process_groups_are_destroyed_and_the_default_one_is_kept(tmp_path: Path, code: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        default = dist.group.WORLD
        state = snapshot(code)
        dist.new_group([0], backend="gloo")
        dist.new_group([0], backend="gloo")
        assert state.restore() == []
        assert list(dist.distributed_c10d._world.pg_map) == [default]
        dist.all_reduce(torch.ones(1))
    finally:
        dist.destroy_process_group()
    assert state.restore() == ["the default process group was destroyed"]


def test_a_leaked_thread_is_reported_until_it_ends(state: ProcessState) -> None:
    hold = threading.Event()
    for daemon in (True, False):
        thread = threading.Thread(target=hold.wait, name=f"leaked-{daemon}", daemon=daemon)
        thread.start()
    try:
        left = state.restore()
    finally:
        hold.set()
    assert [report.split(" (")[0] for report in left] == [
        "thread 'leaked-True' is still running",
        "thread 'leaked-False' is still running",
    ]
    assert state.restore() == []


def test_threads_of_collected_pools_and_of_ray_are_not_leaks(state: ProcessState) -> None:
    hold = threading.Event()

    def of_ray() -> None:
        hold.wait()

    of_ray.__module__ = "ray._private.worker"
    infrastructure = threading.Thread(target=of_ray, daemon=True)
    infrastructure.start()
    exec("from concurrent.futures import ThreadPoolExecutor as P; P(2).submit(int).result()", {})
    assert state.restore() == []
    hold.set()
    infrastructure.join()


def test_a_leaked_child_is_reported_until_it_ends(state: ProcessState) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        left = state.restore()
    finally:
        child.communicate(b"\n")
    assert len(left) == 1
    assert left[0].startswith(f"child process {child.pid} is still running")
    assert state.restore() == []


def test_workers_of_a_loader_that_was_dropped_are_ended(state: ProcessState) -> None:
    data = TensorDataset(torch.arange(8.0))
    loader = DataLoader(data, batch_size=2, num_workers=1, persistent_workers=True)
    next(iter(loader))
    del loader
    assert state.restore() == []
    assert multiprocessing.active_children() == []


def test_a_changed_signal_handler_is_reported(state: ProcessState) -> None:
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    try:
        assert state.restore() == ["signal handler changed: SIGUSR1"]
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert state.restore() == []


def test_a_part_that_fails_is_named_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    state = snapshot()
    before = torch.get_rng_state()
    monkeypatch.undo()
    gone.rmdir()
    torch.manual_seed(99)
    left = state.restore()
    assert len(left) == 1
    assert left[0].startswith("working directory: FileNotFoundError")
    assert torch.equal(torch.get_rng_state(), before)


def test_what_cannot_be_undone_is_reported() -> None:
    """In a process of its own: niceness and interop threads cannot be put back."""
    script = textwrap.dedent("""
        import os, torch
        from orchestrator.engine.clean_slate import snapshot
        state = snapshot()
        os.nice(1)
        torch.set_num_interop_threads(1 + torch.get_num_interop_threads())
        print(*[report.split(" ")[0] for report in state.restore()])
    """)
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout.split() == ["nice", "interop"]
