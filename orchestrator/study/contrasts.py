"""What the design estimates: every effect as a weighted sum of arms under the same seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Contrast:
    """One effect: for each seed s, D_s = Σ_arm weights[arm] · Y_arm,s.

    Leave-one-out: +1 for the arm, −1 for the reference. An interaction: +1, −1, −1, +1. A main effect of a
    factorial design: the row of the least-squares solution, over all arms. `name` is unique; `components` are
    those whose effect (main) or joint effect (interaction) it is; `reference` says what is compared with.
    """

    name: str
    kind: Literal["main", "interaction"]
    components: tuple[str, ...]
    weights: Mapping[str, float]
    reference: str

    @property
    def scale(self) -> float:
        """Variance of D in units of the residual variance of a single run: Σ weights² (2 for a difference)."""
        return sum(weight * weight for weight in self.weights.values())
