"""Several studies on one cluster: how many worker groups each should have, worked out alike by each of them.

Higher priorities first, each as much as it can use (`resources.max_parallel`, and what fits); studies of one
priority in equal parts of the cluster. Ray hands out the resources, so that two that round up alike only wait
for each other. A study that has more than its part gives a worker group back when a trial of it ends; what
one has no trials for is the others'.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import ValidationError

from orchestrator.engine.capacity import Node, capacity

if TYPE_CHECKING:
    from orchestrator.study.spec import ResourcesSpec

_MARK = "orchestrator study "
_SIZE = {"workers", "cpus_per_worker", "accelerator_type", "max_parallel", "priority"}


@dataclass(frozen=True)
class Peer:
    """A study on the cluster.

    `since`: when it came, in ns; `gpus`: of one worker; `could_use`: worker groups, None: as many as there
    are.
    """

    study: str
    since: int
    gpus: float
    resources: ResourcesSpec
    could_use: int | None = None

    @property
    def name(self) -> str:
        """Return what its actor is called, for the others to read: it goes when the study does."""
        size = self.resources.model_dump(mode="json", include=_SIZE)
        return _MARK + json.dumps([self.study, self.since, self.gpus, size])

    @classmethod
    def named(cls, name: str) -> Peer | None:
        """Return the study whose actor has this name; None of other actors."""
        if not name.startswith(_MARK):
            return None
        from orchestrator.study.spec import ResourcesSpec

        try:
            study, since, gpus, size = json.loads(name.removeprefix(_MARK))
            return cls(str(study), int(since), float(gpus), ResourcesSpec.model_validate(size))
        except (ValueError, TypeError, ValidationError):  # of another version
            return None

    def fits(self, nodes: Sequence[Node]) -> int:
        """How many worker groups fit on an empty cluster."""
        return capacity(nodes, self.resources, self.gpus).slots // self.resources.workers

    def part_wanted(self, nodes: Sequence[Node]) -> float:
        """Return the part of the cluster that it can use, from 0 to 1."""
        fits, most = self.fits(nodes), self.resources.max_parallel
        limits = [limit for limit in (most, self.could_use) if isinstance(limit, int)]
        return min([fits, *limits]) / fits if fits else 0.0


def entitled(me: Peer, others: Iterable[Peer], nodes: Sequence[Node]) -> int:
    """Return how many worker groups a study should have, the part of a group as a whole one."""
    left, equals = 1.0, [me.part_wanted(nodes)]
    for peer in others:
        if peer.resources.priority > me.resources.priority:
            left -= peer.part_wanted(nodes)
        elif peer.resources.priority == me.resources.priority:
            equals.append(peer.part_wanted(nodes))
    part = min(equals[0], _level(equals, max(0.0, left)))
    return math.ceil(part * me.fits(nodes) - 1e-6)


def _level(wanted: Sequence[float], left: float) -> float:
    """Return the height to which equals are filled: who wants less leaves the rest to the others."""
    for number, want in enumerate(sorted(wanted)):
        height = left / (len(wanted) - number)
        if want >= height:
            return height
        left -= want
    return math.inf
