"""How often something beside training may happen, so that it costs no more than its share of the time."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Pace:
    """When the next one (a validation batch) is due, so that all of them cost at most `share` of the
    training time.

    The clock is the caller's: it says how long steps and validation batches took.
    """

    every: int | str
    """Steps between two; 0: never; "auto": as often as the share allows."""
    share: float = 0.03
    guess: float = 1.0
    """Steps that the first one is taken to cost, before it is measured."""
    keep: int = 0
    """How many more have to fit into the share afterwards."""
    train_s: float = 0.0
    val_s: float = 0.0
    latest_s: float = 0.0
    steps: int = 0

    def due(self, step: int) -> bool:
        """Is one due after training step `step` (from 1)?"""
        if isinstance(self.every, int):
            return self.every > 0 and step % self.every == 0
        expected_s = self.latest_s or self.guess * self.train_s / max(1, self.steps)
        return self.steps > 0 and self.val_s + (1 + self.keep) * expected_s <= self.share * self.train_s

    def trained(self, seconds: float) -> None:
        """Count a training step of so many seconds."""
        self.train_s += seconds
        self.steps += 1

    def validated(self, seconds: float) -> None:
        """Count a validation batch of so many seconds."""
        self.val_s += seconds
        self.latest_s = seconds
