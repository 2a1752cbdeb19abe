"""Which node type is started next: asked of Ray's scheduler and launcher, with the files' node types."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from time import time
from typing import Any

import pytest

from .files import CLOUDS, environment, prepared

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("path", CLOUDS, ids=lambda path: path.name)]
EXPIRES_S = 1800.0
SCORER = "orchestrator.engine.ray_private.spot_first.score"


class Cloud:
    """A cloud without spot nodes, seen through Ray's launcher, its record of failures and its scheduler."""

    def __init__(self, path: Path) -> None:
        from ray.autoscaler._private.event_summarizer import EventSummarizer
        from ray.autoscaler._private.node_launcher import BaseNodeLauncher
        from ray.autoscaler._private.node_provider_availability_tracker import NodeProviderAvailabilityTracker
        from ray.autoscaler._private.resource_demand_scheduler import ResourceDemandScheduler
        from ray.autoscaler._private.util import ConcurrentCounter
        from ray.autoscaler.node_provider import NodeProvider

        started: Counter[str] = Counter()
        self.started, self.later_s, self.config = started, 0.0, prepared(path)

        class WithoutSpot(NodeProvider):  # type: ignore[misc]
            def create_node(self, node_config: dict[str, Any], tags: dict[str, str], count: int) -> None:
                started[tags["ray-user-node-type"]] += count
                if tags["ray-user-node-type"] == "gpu_spot":
                    raise RuntimeError(
                        "ZONE_RESOURCE_POOL_EXHAUSTED"
                    )  # a bare exception, as Google's provider

        provider = WithoutSpot(self.config["provider"], "test")
        self.tracker = NodeProviderAvailabilityTracker(timer=lambda: time() + self.later_s, ttl=EXPIRES_S)
        types = self.config["available_node_types"]
        # in the order of Ray's autoscaler: the scheduler imports spot_first, which the launcher then feels
        self.scheduler = ResourceDemandScheduler(provider, types, self.config["max_workers"], "head", 1.0)
        self.launcher = BaseNodeLauncher(
            provider, ConcurrentCounter(), EventSummarizer(), self.tracker, "test", node_types=types
        )

    def wanted(self, demands: list[dict[str, float]]) -> dict[str, int]:
        chosen, _ = self.scheduler.get_nodes_to_launch(
            [], {}, demands, {}, [], {}, [], self.tracker.summary()
        )
        return {name: count for name, count in chosen.items() if name != "head"}  # it runs already

    def launch(self, node_type: str, count: int) -> None:
        self.launcher.pending.inc(node_type, count)
        self.launcher.launch_node(self.config, count, node_type)


@pytest.fixture
def _chosen_by_us() -> Iterator[None]:
    """As in the autoscaler's process on the head; what the module does to Ray is undone."""
    from ray.autoscaler._private.node_launcher import BaseNodeLauncher

    before = BaseNodeLauncher.__init__
    try:
        with environment(RAY_AUTOSCALER_UTILIZATION_SCORER=SCORER):
            yield
    finally:
        sys.modules.pop(SCORER.rpartition(".")[0], None)
        BaseNodeLauncher.__init__ = before


@pytest.mark.usefixtures("_chosen_by_us")
def test_spot_first_then_on_demand_then_spot_again(path: Path) -> None:
    cloud = Cloud(path)
    work = [{"CPU": 8.0, "GPU": 1.0}]
    assert cloud.wanted(work) == {"gpu_spot": 1}
    cloud.launch("gpu_spot", 1)
    assert cloud.wanted(work) == {"gpu_ondemand": 1}
    cloud.launch("gpu_ondemand", 1)
    assert cloud.started == {"gpu_spot": 1, "gpu_ondemand": 1}
    cloud.later_s = EXPIRES_S + 5
    assert cloud.wanted(work) == {"gpu_spot": 1}


@pytest.mark.usefixtures("_chosen_by_us")
def test_the_limits_of_the_file_hold(path: Path) -> None:
    cloud = Cloud(path)
    assert cloud.wanted([{"GPU": 1.0}] * 100) == {"gpu_spot": 4}
    cloud.launch("gpu_spot", 4)
    chosen = cloud.wanted([{"GPU": 1.0}] * 100)
    assert chosen["gpu_ondemand"] == 2
    assert sum(chosen.values()) <= 4


def test_ray_alone_asks_for_the_type_that_failed_again(path: Path) -> None:
    """Why there is a module at all. When this fails, Ray has learned it, and the module can go."""
    cloud = Cloud(path)
    first = cloud.wanted([{"GPU": 1.0}])
    cloud.launch(*next(iter(first.items())))
    assert cloud.wanted([{"GPU": 1.0}]) == first
