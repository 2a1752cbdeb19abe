"""Where the lanes run: nodes that come and go, nodes that are set aside, and what the study waits for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from orchestrator.decide.faults import FaultKind
from orchestrator.decide.nodes import NodeWatch
from orchestrator.engine.capacity import ClusterPart, Node, capacity, lanes, slots, waits_for
from orchestrator.engine.messages import NodeUse, SetAside
from orchestrator.study.spec import ResourcesSpec


class Placement:
    """Knows where trials run. Not thread-safe: the conductor's lock guards it. `gpus`: of one worker."""

    def __init__(self, resources: ResourcesSpec, gpus: float, note: Callable[[str], None]) -> None:
        self._resources, self._gpus, self._note = resources, gpus, note
        self._watch = NodeWatch()
        self._nodes: dict[str, Node] = {}
        self._lanes: dict[str, tuple[str, ...]] = {}
        self._ending: set[str] = set()
        self._use: dict[str, NodeUse] = {}
        self._waits: str | None = None
        self._starts = 0
        self._others: tuple[str, ...] = ()

    def lane_up(self, lane: str, nodes: tuple[str, ...]) -> None:
        """All workers of a lane are attached, one on each of `nodes` (ids)."""
        self._lanes[lane] = nodes

    def nodes_of(self, lane: str | None) -> tuple[str, ...]:
        """Return the nodes of a lane, as far as they are known."""
        return self._lanes.get(lane, ()) if lane else ()

    def is_ending(self, lane: str | None) -> bool:
        """Whether this lane was told to end, because a node of its own was set aside."""
        return lane in self._ending

    def name(self, node: str) -> str:
        """Return a node for people."""
        known = self._nodes.get(node)
        return f"{known.address} ({node[:8]})" if known else node[:8]

    def where(self, lanes: Sequence[str]) -> dict[str, Any]:
        """Return plain data for people: the nodes, and on which of them these lanes are."""
        aside = self._watch.set_aside
        ours = {node for lane in lanes for node in self.nodes_of(lane)}
        nodes = [
            {
                "name": self.name(node.id),
                "cpus": node.cpus,
                "gpus": node.gpus,
                "is": "lost" if not node.alive else "set aside" if node.id in aside else "used",
                # of others what was said last may be long ago
                **(self._use[node.id].plain() if node.id in self._use and node.id in ours else {}),
            }
            for node in self._nodes.values()
        ]
        return {"nodes": nodes, "on": {lane: list(map(self.name, self.nodes_of(lane))) for lane in lanes}}

    def use_told(self, use: NodeUse) -> None:
        """Take in what a node has in use."""
        self._use[use.node] = use

    def worked(self, lane: str | None) -> None:
        """Take in that a trial got on there."""
        self._watch.worked(self.nodes_of(lane))

    def could_not_start(self, lane: str, node: str) -> SetAside | None:
        """Take in that a worker could not start on `node`: every try counts as another trial's failure."""
        self._starts += 1
        self._lanes.setdefault(lane, (node,))
        return self.failed((node,), f"start {self._starts}", FaultKind.UNKNOWN, lane) if node else None

    def failed(self, nodes: Sequence[str], trial: str, fault: FaultKind, lane: str | None) -> SetAside | None:
        """Return a trial failed on these nodes; tells when that changes which nodes are used."""
        others = [node.id for node in self._nodes.values() if node.alive and self._fits(node)]
        for node in nodes:
            found = self._watch.failed(node, trial, fault, others)
            for back in found.back:
                self._note(f"node {self.name(back)} is used again: {trial} failed on {self.name(node)} too")
            if found.aside is None and not found.back:
                continue
            ending, reason = tuple[str, ...](), f"{trial} failed elsewhere too"
            if found.aside is not None:
                reason = f"node {self.name(node)} is set aside: {found.why}"
                self._note(f"{reason}. Look at that machine; the next start of the study uses it again")
                there = tuple(name for name, used in self._lanes.items() if node in used)
                ending = there if found.whole else (lane,) if lane else ()
                self._ending.update(ending)
            return SetAside(tuple(sorted(self._watch.set_aside)), ending, reason)
        return None

    def see(self, nodes: Sequence[Node], part: ClusterPart | None = None, *, busy: bool) -> int:
        """Take in the nodes as they are now, and the study's part. Returns how many lanes are wanted.

        `busy`: whether cells run or wait; a study with nothing to do waits for nothing.
        """
        now = {node.id: node for node in nodes}
        for node in nodes:
            before = self._nodes.get(node.id)
            if before is not None and before.alive and not node.alive:
                self._note(f"node {self.name(node.id)} is lost")
            elif before is None and self._nodes and node.alive:
                self._note(f"node {node.address} ({node.id[:8]}) has joined")
        self._nodes = now
        offered = capacity(nodes, self._resources, self._gpus, self._watch.set_aside)
        waits = waits_for(self._resources, self._gpus, offered) if busy else None
        if waits is not None and self._waits is None:
            self._note(waits)
        elif waits is None and self._waits is not None and busy:
            self._note("there is capacity again")
        self._waits = waits
        fit = lanes(self._resources, offered)
        self._say_who_else(part)
        return fit if part is None else min(fit, part.groups)

    def _say_who_else(self, part: ClusterPart | None) -> None:
        others = () if part is None else part.others
        if others and others != self._others:
            self._note(
                f"shares the cluster with {', '.join(others)}: worker groups go by resources.priority, in "
                "equal parts where it is equal, and change hands when a trial ends"
            )
        elif self._others and not others:
            self._note("has the cluster to itself again")
        self._others = others

    def _fits(self, node: Node) -> bool:
        return slots(node, self._resources, self._gpus) > 0
