"""Worker groups on a Ray cluster: Tune owns the trials, Train the workers."""

from orchestrator.engine.on_ray._tune_runtime import TuneRuntime

__all__ = ["TuneRuntime"]
