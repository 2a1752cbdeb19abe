"""Searches by name. What one is, `study.search` says; none is imported before it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.study.plugins import Registry

if TYPE_CHECKING:
    from orchestrator.study.search import Search


def _is_search(thing: object) -> bool:
    from orchestrator.study.search import Search

    return isinstance(thing, Search)


SEARCHES: Registry[Search] = Registry(
    "search",
    "orchestrator.searches",
    {
        "grid": "orchestrator.study.search:GRID",
        "random": "orchestrator.study.search:RANDOM",
        "bayes": "orchestrator.decide.bayes:BAYES",
    },
    _is_search,
)
