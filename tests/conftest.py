"""What tests of several folders share: modules of `engine` and `training`, and one Ray for many studies."""

from __future__ import annotations

import atexit
import gc
import os
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent / "training"))
sys.path.insert(0, str(Path(__file__).parent / "engine"))

from workbench import Bench, SharedBench, shared_head

# Studies that start their own Ray share a machine where they share the directory of its sessions: those of
# other tests, at the same time on this machine, are none of ours. Short: it holds the paths of sockets.
os.environ["RAY_TMPDIR"] = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
Path(
    os.environ["RAY_TMPDIR"], "ray"
).mkdir()  # where Ray notes the newest cluster, whatever its own directory is
atexit.register(shutil.rmtree, os.environ["RAY_TMPDIR"], ignore_errors=True)

# How long an example takes depends on what else the machine does; every run draws others.
# `make test-fast` draws fewer, `make test-all` more.
for profile, examples in (("fast", 10), ("suite", 25), ("all", 200)):
    settings.register_profile(
        profile, deadline=None, max_examples=examples, suppress_health_check=[HealthCheck.too_slow]
    )
settings.load_profile("suite")

# A shell's background job ignores Ctrl-C, and so would every command that a test starts and interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out a module whose every test is deselected: what it imports takes seconds, in every process."""
    if not collection_path.match("test_*.py"):
        return None
    marks = re.search(r"^pytestmark = (\[[^\n]*\n(?: .*\n)*\]|.*)", collection_path.read_text(), re.MULTILINE)
    left_out = re.findall(r"not (\w+)", config.option.markexpr)
    return True if marks and set(left_out) & set(re.findall(r"mark\.(\w+)", marks[1])) else None


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Look for no garbage while modules are imported, nor ever among what they are made of: seconds each."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(scope="session")
def shared_ray() -> Iterator[str]:
    """The address of a Ray that outlives all studies of these tests; each of them connects and leaves."""
    with shared_head() as address:
        yield address


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Bench]:
    """`bench("faulty", study_text)`: drivers in processes of their own, each of which starts its own Ray.

    For what is about processes: signals, the command line, orphans, how Ray starts. Else `shared_bench`.
    """

    def make(entrypoint: str | None, text: str, prelude: str = "") -> Bench:
        return Bench(tmp_path_factory.mktemp(entrypoint or "study"), entrypoint, text, prelude)

    return make


@pytest.fixture(scope="module")
def shared_bench(tmp_path_factory: pytest.TempPathFactory, shared_ray: str) -> Callable[..., SharedBench]:
    """`shared_bench("faulty", study_text)`: drivers in this process, workers on the shared Ray."""

    def make(entrypoint: str | None, text: str) -> SharedBench:
        return SharedBench(tmp_path_factory.mktemp(entrypoint or "study"), entrypoint, text, shared_ray)

    return make
