"""How cells are called when people read of them. Imports nothing, so that every verb can use it."""

from __future__ import annotations


def cell_name(arm: str, seed: int, phase: str, sample: int | None) -> str:
    """`no-mixup seed 3`, `no-mixup sample 4`, `no-mixup seed 3 (retuned)`."""
    if sample is not None:
        return f"{arm} sample {sample}"
    return f"{arm} seed {seed}" + ("" if phase == "fixed" else f" ({phase})")
