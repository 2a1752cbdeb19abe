"""The processes of a worker group: trial after trial, each on a clean slate."""

from orchestrator.engine.workers._lane_entry import lane_loop

__all__ = ["lane_loop"]
