"""Which faults hit a study, and when: a pure function of the seed.

Faults come from decks in which each kind lies at least once, so that many faults mean all kinds. When one
strikes is a number of epochs that the study has finished, not a time.
"""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What happens. The names are those of the table in `docs/reliability.md`."""

    WORKER_KILLED = "worker killed"
    WORKER_STALLS = "worker stopped for a moment"
    WORKER_HANGS = "worker stopped until it counts as hanging"
    LANE_KILLED = "trial actor killed"
    BROKER_KILLED = "message actor killed"
    NODE_LOST = "node lost"
    SECOND_DRIVER = "second driver beside the first"
    DRIVER_KILLED = "driver killed"
    DRIVER_TERMINATED = "driver ended by SIGTERM"
    DRIVER_INTERRUPTED = "driver ended by SIGINT"
    KILLED_STARTING = "driver killed, the next one too, while it starts"
    TWO_DRIVERS = "driver killed, two started at once"
    DRIVER_AND_RAY = "driver and its Ray killed at once"
    LATE_WORKER = "driver killed over a stopped worker that wakes up later"
    TORN_JOURNAL = "driver killed within a line of the journal"
    HALF_CHECKPOINT = "driver killed within a checkpoint"
    DAMAGED_CHECKPOINT = "driver killed, newest checkpoint damaged"
    DISK_FULL = "disk full"


class Home(StrEnum):
    """Where a driver runs its lanes."""

    OWN = "a Ray of its own"
    NODES = "a cluster of two nodes"


OFTEN = {Kind.WORKER_KILLED: 3, Kind.LANE_KILLED: 2, Kind.NODE_LOST: 2}
"""How often a kind lies in a deck, where that is not once."""
NEW_DRIVER = frozenset(
    {
        Kind.BROKER_KILLED,
        Kind.DRIVER_KILLED,
        Kind.DRIVER_TERMINATED,
        Kind.DRIVER_INTERRUPTED,
        Kind.KILLED_STARTING,
        Kind.TWO_DRIVERS,
        Kind.DRIVER_AND_RAY,
        Kind.LATE_WORKER,
        Kind.TORN_JOURNAL,
        Kind.HALF_CHECKPOINT,
        Kind.DAMAGED_CHECKPOINT,
        Kind.DISK_FULL,
    }
)
"""After these a driver is started anew, if it has ended."""
FIRST_SHARE, LAST_SHARE = 0.02, 0.88
"""Of the study's epochs: nothing strikes before or after."""
MOST_LATER = 10


@dataclass(frozen=True)
class Fault:
    """One fault.

    `after`: epochs (of any trial, each counted once) that the study has finished. `lane`: which of the
    trials that run then it hits, modulo their number. `later`: so many epochs on, what was stopped wakes up
    and what was lost is replaced. `home`: of the driver that comes next, when a new one is needed.
    """

    number: int
    kind: Kind
    after: int
    lane: int
    later: int
    home: Home

    def __str__(self) -> str:
        words = (
            f"{self.number:3}  after {self.after:4} epochs  lane {self.lane}  +{self.later:<2}  {self.kind}"
        )
        return f"{words} (next driver: {self.home})" if self.kind in NEW_DRIVER else words


def draw(seed: int, faults: int, epochs: int, kinds: Collection[Kind] = tuple(Kind)) -> tuple[Fault, ...]:
    """So many faults for a study of so many epochs in all its trials, in the order in which they strike.

    A node is lost only while a cluster is the driver's home, by what the schedule knows. No two strike at
    the same moment, and any two may follow upon each other at once.

    `kinds`: only these are drawn. Raises ValueError when the study has too few epochs for them.
    """
    moments = range(max(1, round(FIRST_SHARE * epochs)), round(LAST_SHARE * epochs))
    if faults > len(moments):
        raise ValueError(f"{faults} faults do not fit into {len(moments)} of {epochs} epochs; take fewer")
    dice = random.Random(f"chaos {seed}")
    deck, home, drawn = list[Kind](), Home.NODES, list[Fault]()
    for number, after in enumerate(sorted(dice.sample(moments, faults)), start=1):
        deck = deck if any(_possible(kind, home) for kind in deck) else deck + _deck(dice, kinds)
        kind = next(kind for kind in deck if _possible(kind, home))
        deck.remove(kind)
        if kind in NEW_DRIVER:
            waits = Kind.NODE_LOST in deck and home is Home.OWN
            home = Home.NODES if waits else dice.choice(list(Home))
        drawn.append(Fault(number, kind, after, dice.randrange(2), dice.randint(0, MOST_LATER), home))
    return tuple(drawn)


def _deck(dice: random.Random, kinds: Collection[Kind]) -> list[Kind]:
    cards = [kind for kind in Kind if kind in kinds for _ in range(OFTEN.get(kind, 1))]
    dice.shuffle(cards)
    return cards


def _possible(kind: Kind, home: Home) -> bool:
    return kind is not Kind.NODE_LOST or home is Home.NODES
