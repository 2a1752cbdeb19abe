"""Worker groups on a Ray cluster: Tune owns the trials, Train the workers."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.engine.on_ray._tune_runtime import TuneRuntime

__all__ = ["TuneRuntime"]


def __getattr__(name: str) -> Any:
    """Import Tune where the driver asks for it: the message actor starts in half of the time without."""
    if name != "TuneRuntime":
        raise AttributeError(name)
    from orchestrator.engine.on_ray._tune_runtime import TuneRuntime

    return TuneRuntime
