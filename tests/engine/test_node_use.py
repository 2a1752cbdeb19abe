"""What a node has in use: looked at from a worker, told when that has changed."""

from __future__ import annotations

import sys
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.engine.attempts import LineDown, Link
from orchestrator.engine.attempts import _link as lines
from orchestrator.engine.attempts._nodeuse import NodeWatcher, node_use
from orchestrator.engine.messages import NodeUse

GIB = 1 << 30


def test_a_node_says_what_of_its_memory_is_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    found = node_use("a" * 12)
    assert (found.node, found.gpu, found.gpu_memory) == ("a" * 12, None, None)
    assert 0 < found.memory[0] <= found.memory[1]
    assert found.load >= 0
    assert set(found.plain()) == {"load", "memory"}


def nvml(gpus: int, *, parts: bool = False) -> Any:
    """A stand-in for the library of NVIDIA, which is not ours."""

    class NVMLError(Exception):
        pass

    def rates(gpu: int) -> SimpleNamespace:
        if parts:
            raise NVMLError
        return SimpleNamespace(gpu=40 * gpu)

    def begin() -> None:
        if gpus < 0:
            raise NVMLError

    return SimpleNamespace(
        NVMLError=NVMLError,
        nvmlInit=begin,
        nvmlDeviceGetCount=lambda: gpus,
        nvmlDeviceGetHandleByIndex=lambda number: number,
        nvmlDeviceGetMemoryInfo=lambda gpu: SimpleNamespace(used=gpu * GIB, total=80 * GIB),
        nvmlDeviceGetUtilizationRates=rates,
    )


@pytest.mark.parametrize(
    ("library", "busy", "memory"),
    [(nvml(2), 0.2, 160), (nvml(2, parts=True), None, 160), (nvml(0), None, None), (nvml(-1), None, None)],
    ids=["two", "parts of one", "none", "no driver"],
)
def test_gpus_are_there_where_there_are_any(
    monkeypatch: pytest.MonkeyPatch, library: Any, busy: float | None, memory: int | None
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", library)
    found = node_use("a")
    assert found.gpu == busy
    assert (found.gpu_memory is None) == (memory is None)
    if found.gpu_memory is not None and memory is not None:
        assert found.gpu_memory[1] == memory * GIB
        assert found.gpu_memory[0] == pytest.approx(GIB, rel=0.06)


def test_only_what_has_changed_is_told_until_the_line_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = iter([NodeUse("a", load, (1, 2)) for load in (1.0, 1.0, 1.0, 2.0, 3.0)])
    said: list[Any] = []
    over = threading.Event()

    def call(method: str, *arguments: Any) -> None:
        said.append((method, *arguments))
        if len(said) == 3:
            over.set()
            raise LineDown

    monkeypatch.setattr(lines, "node_use", lambda node: next(looks))
    monkeypatch.setattr(lines, "NodeWatcher", lambda look, tell: NodeWatcher(look, tell, every_s=0.001))
    link = Link(call, "lane", 0, "first")
    link.attach(SimpleNamespace(node="a"), watches=True)  # type: ignore[arg-type]
    assert over.wait(30)
    assert said[0][:1] == ("attach",)
    assert [(method, use.load) for method, use in said[1:]] == [("say_apart", 1.0), ("say_apart", 2.0)]
