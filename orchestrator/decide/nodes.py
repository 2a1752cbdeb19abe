"""When a node is set aside, and when it is used again.

*Several different trials* failed there one after the other, and none got on: the node is bad, and all that
runs there moves. *One trial* failed there twice in a row: new work goes elsewhere, and so does that trial.
Fails it there too, then the trial is to blame and the node is used again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from orchestrator.decide.faults import FaultKind

TRIALS = 3  # how many different trials must have failed on a node
TIMES = 2  # how often one trial must have failed on it


@dataclass(frozen=True)
class Verdict:
    """What a failure means for the nodes."""

    aside: str | None = None
    """The node that is set aside now."""
    why: str = ""
    whole: bool = False
    """Everything that runs there moves, not only the trial that failed."""
    back: tuple[str, ...] = ()
    """Nodes that are used again."""


class NodeWatch:
    """Counts failures per node since the last progress there. Plain data; nodes go by their ids."""

    def __init__(self) -> None:
        self._failed: dict[str, list[tuple[str, FaultKind]]] = {}
        self._suspect: dict[str, str] = {}  # node -> the trial that failed there twice
        self._bad: set[str] = set()

    @property
    def set_aside(self) -> frozenset[str]:
        """The nodes that get no new work."""
        return frozenset({*self._bad, *self._suspect})

    def worked(self, nodes: Iterable[str]) -> None:
        """Forget failures there: a trial got on, to a new checkpoint or its end."""
        for node in nodes:
            self._failed.pop(node, None)

    def failed(self, node: str, trial: str, fault: FaultKind, others: Collection[str]) -> Verdict:
        """Count that a trial failed on `node`, and say what that means.

        Args:
            others: the nodes that could do its work. A node is never set aside when there are none: a study
                that goes on badly is better than one that stands still.
        """
        if not fault.speaks_against_node:
            return Verdict()
        failures = self._failed.setdefault(node, [])
        failures.append((trial, fault))
        back = tuple(sorted(n for n, by in self._suspect.items() if by == trial and n != node))
        for suspect in back:
            del self._suspect[suspect]
        if node in self._bad or not set(others) - self.set_aside - {node}:
            return Verdict(back=back)
        latest = dict(failures)
        told = ", ".join(f"{name} ({kind})" for name, kind in latest.items())
        if len(latest) >= TRIALS:
            self._bad.add(node)
            self._suspect.pop(node, None)
            return Verdict(node, f"{len(latest)} different trials failed there: {told}", True, back)
        times = sum(name == trial for name, _ in failures)
        if times >= TIMES and node not in self._suspect and not back:
            self._suspect[node] = trial
            return Verdict(node, f"{trial} failed there {times} times ({fault})")
        return Verdict(back=back)
