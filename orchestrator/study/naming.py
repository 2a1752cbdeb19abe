"""How cells are called when people read of them. Imports little, so that every verb can use it."""

from __future__ import annotations

from collections.abc import Sequence


def cell_name(arm: str, seed: int, phase: str, sample: int | None) -> str:
    """`no-mixup seed 3`, `no-mixup sample 4`, `no-mixup seed 3 (retuned)`."""
    return f"{arm} sample {sample}" if sample is not None else seeds_name(arm, [seed], phase)


def seeds_name(arm: str, seeds: Sequence[int], phase: str) -> str:
    """`no-mixup seeds 3, 4 (retuned)`: several cells of one arm."""
    many = "" if len(seeds) == 1 else "s"
    return f"{arm} seed{many} {', '.join(map(str, seeds))}" + ("" if phase == "fixed" else f" ({phase})")
