"""The whole `ablate` command, driver and signals included, with threads where Ray would be.

Everything is the product's own but for `engine.on_ray`, in whose place are the lanes of `engine.inprocess`.
The entrypoint is a plain function that reports with `engine.inprocess.report`. For what is about the command
and not about Ray, whose start takes ten seconds.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from orchestrator.engine import driver
from orchestrator.engine.capacity import Node
from orchestrator.engine.inprocess._runtime import InProcess
from orchestrator.engine.inprocess._session import user_code
from orchestrator.engine.messages import RunFacts
from orchestrator.reporting import write

ON_RAY = "orchestrator.engine.on_ray"
CLUSTER = "10.0.0.9:6379"
_COMMAND = (
    f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import pytest, rayless; "
    "rayless.install(pytest.MonkeyPatch()); from orchestrator.cli.app import main; sys.exit(main())"
)
WORDS = [sys.executable, "-c", _COMMAND]
"""The command as a process of its own."""


class _Lanes(InProcess):
    """Made and closed as a `TuneRuntime`."""

    def __init__(self, facts: RunFacts, machine: object, *, kept_cpus: float) -> None:
        del machine, kept_cpus
        super().__init__(facts, lambda: user_code(_function(facts)))
        self.__enter__()

    def close(self) -> None:
        """End all threads."""
        self.__exit__()


def _function(facts: RunFacts) -> Callable[..., Any]:
    """Find the entrypoint as its file is now."""
    module, _, name = str(facts.spec.entrypoint).partition(":")
    spec = importlib.util.spec_from_file_location(module, Path(facts.project) / f"{module}.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    found: Callable[..., Any] = getattr(made, name)
    return found


@contextmanager
def _connected(address: str | None, want: Any, note: Callable[[str], None]) -> Iterator[object | None]:
    del want, note
    yield object() if address is None else None


def install(patch: pytest.MonkeyPatch) -> None:
    """Put the lanes in the place of Ray."""
    cluster: Any = ModuleType(f"{ON_RAY}.cluster")
    cluster.connected, cluster.connected_to = _connected, lambda _: CLUSTER
    cluster.gpus_per_worker = lambda _: 0.0
    cluster.nodes = lambda _: [Node("here", "here", cpus=64.0, gpus=0.0)]
    on_ray: Any = ModuleType(ON_RAY)
    on_ray.cluster, on_ray.TuneRuntime = cluster, _Lanes
    patch.setitem(sys.modules, ON_RAY, on_ray)
    patch.setattr(driver, "_import_quietly", lambda _: None)
    patch.setattr(write, "EXTRA", ("not_installed",))
