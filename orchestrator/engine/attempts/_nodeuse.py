"""What a node has in use: read now and then by one worker of each group that is there."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress

from orchestrator.engine.messages import NodeUse

EVERY_S = 10.0
"""Between two looks. A trial that is shorter pays nothing for them."""
_STEP = 100 << 20  # bytes that make a difference to people: what has hardly changed is not said again


def node_use(node: str) -> NodeUse:
    """Return what the node `node` (id), on which this process runs, has in use."""
    import psutil  # when the first trial has been running for a while

    memory = psutil.virtual_memory()
    use = memory.total - memory.available
    return NodeUse(node, round(psutil.getloadavg()[0], 1), _rounded(use, memory.total), *_gpus())


def _rounded(used: int, total: int) -> tuple[int, int]:
    return min(total, round(used / _STEP) * _STEP), total


def _gpus() -> tuple[float | None, tuple[int, int] | None]:
    """Return the share of the time that the GPUs of the node were busy, and their memory, all together.

    NVML is asked, not CUDA, which would take memory of every GPU for this process. None where it is not
    installed, or finds no driver or no GPU; a part of a GPU does not say how busy it is.
    """
    try:
        import pynvml
    except ImportError:
        return None, None
    try:
        pynvml.nvmlInit()
        gpus = [pynvml.nvmlDeviceGetHandleByIndex(number) for number in range(pynvml.nvmlDeviceGetCount())]
        memory = [pynvml.nvmlDeviceGetMemoryInfo(gpu) for gpu in gpus]
    except pynvml.NVMLError:
        return None, None
    if not gpus:
        return None, None
    busy = None
    with suppress(pynvml.NVMLError):
        shares = [pynvml.nvmlDeviceGetUtilizationRates(gpu).gpu / 100 for gpu in gpus]
        busy = round(sum(shares) / len(shares), 2)
    return busy, _rounded(sum(one.used for one in memory), sum(one.total for one in memory))


class NodeWatcher:
    """Looks at a node from a thread, and tells what has changed. `look`: returns what is in use."""

    def __init__(
        self, look: Callable[[], NodeUse], tell: Callable[[NodeUse], None], every_s: float = EVERY_S
    ) -> None:
        self._look, self._tell, self._every_s = look, tell, every_s
        self._over = threading.Event()

    def start(self) -> None:
        """Begin; the first look is taken after a while."""
        threading.Thread(target=self._watch, name="orchestrator-node", daemon=True).start()

    def stop(self) -> None:
        """Look no more."""
        self._over.set()

    def _watch(self) -> None:
        said: NodeUse | None = None
        while not self._over.wait(self._every_s):
            try:
                found = self._look()
            except OSError:  # a machine that does not let us: nobody is told then
                return
            if found != said:
                said = found
                self._tell(found)
