"""The processes of a worker group: trial after trial, each on a clean slate.

The trial actor imports this door and not what workers need.
"""

from __future__ import annotations

import traceback
from typing import Any


def lane_loop(config: dict[str, Any]) -> None:
    """Serve on a worker of a lane, as Ray Train's function. `config`: {"broker", "lane", "facts"}."""
    try:
        from orchestrator.engine.workers._worker import LaneWorker

        LaneWorker(config["broker"], config["lane"], config["facts"]).serve()
    except Exception:
        import ray

        from orchestrator.engine.messages import WorkerFailed

        # Ray Train starts the group again, for ever: somebody has to hear why
        node = ray.get_runtime_context().get_node_id()
        failed = WorkerFailed(config["lane"], traceback.format_exc(limit=-8), node)
        config["broker"].say_apart.remote(failed)
        raise
