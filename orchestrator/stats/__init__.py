"""Effects, intervals and levels. Numpy and scipy only; result types that know nothing about how they look.

`effects(results)` is the whole method on a table of results, wherever they come from; loaded on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.stats.analysis import Analysis as Analysis
    from orchestrator.stats.analysis import effects as effects

__all__ = ["Analysis", "effects"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("orchestrator.stats.analysis"), name)
    raise AttributeError(f"module 'orchestrator.stats' has no attribute {name!r}")
