"""Which node type Ray's autoscaler starts next: spot before on-demand, the one that just failed last.

When a node type cannot be launched, neither autoscaler of Ray 2.60 goes over to another type: asked again,
both choose the one that failed. Version 1 remembers the failure and lets the choice be replaced, as is done
here: `RAY_AUTOSCALER_UTILIZATION_SCORER` names `score`, and the autoscaler's process on the head imports
this module. A failure is forgotten after 30 minutes (`AUTOSCALER_NODE_AVAILABILITY_MAX_STALENESS_S`): spot
is tried again.
"""

from __future__ import annotations

import sys
from typing import Any

from ray.autoscaler._private.node_launcher import BaseNodeLauncher
from ray.autoscaler._private.resource_demand_scheduler import _resource_based_utilization_scorer
from ray.autoscaler.node_launch_exception import NodeLaunchException

SPOT_SUFFIX = "_spot"


def score(
    node_resources: dict[str, float],
    resources: list[dict[str, float]],
    node_type: str,
    *,
    node_availability_summary: Any,
) -> tuple[Any, ...] | None:
    """How much a node of this type is wanted for these demands: compared from the left; None: useless.

    In this order: no GPU node for work without GPUs; what could be launched when last tried; spot; and what
    Ray compares, how well the demands fill the node.
    """
    fit = _resource_based_utilization_scorer(
        node_resources, resources, node_availability_summary=node_availability_summary
    )
    if fit is None:
        return None
    gpus_not_wasted, *filling = fit
    tried = node_availability_summary.node_availabilities.get(node_type)
    available = tried is None or tried.is_available
    return (gpus_not_wasted, available, node_type.endswith(SPOT_SUFFIX), *filling)


class _Telling:
    """A node provider whose failed launches all count. Google's raises bare exceptions: only logged."""

    def __init__(self, provider: Any) -> None:
        self._provider = provider

    def __getattr__(self, name: str) -> Any:
        return getattr(self._provider, name)

    def create_node_with_resources_and_labels(self, *arguments: Any) -> Any:
        try:
            return self._provider.create_node_with_resources_and_labels(*arguments)
        except NodeLaunchException:
            raise
        except Exception as error:
            raise NodeLaunchException("LaunchFailed", str(error), sys.exc_info()) from error


def _count_every_failure() -> None:
    start = BaseNodeLauncher.__init__

    def start_telling(self: Any, provider: Any, *arguments: Any, **options: Any) -> None:
        start(self, _Telling(provider), *arguments, **options)

    BaseNodeLauncher.__init__ = start_telling


_count_every_failure()  # Ray has no hook for it; this process is the autoscaler's own
