"""How a plain function is called as a trial, and what is said of one that does not report."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from orchestrator.engine.attempts._said import type_name
from orchestrator.engine.attempts._trial_run import TrialRun

_CALLED = "; calling it has run nothing"
_GIVES: dict[Callable[[object], bool], str] = {
    inspect.iscoroutine: f"is async{_CALLED}, since nobody awaits it; write a plain `def`",
    inspect.isasyncgen: f"is an async generator{_CALLED}; write a plain `def`, and call ray.train.report",
    inspect.isgenerator: f"has a yield{_CALLED}; call ray.train.report({{...}}) instead",
}


def call_function(function: Any, run: TrialRun) -> None:
    """Call it with the config, or with nothing where it takes nothing.

    Raises:
        TypeError: what it gives back shows that it is no function that reports.
    """
    given = function(run.config()) if parameters(function) else function()
    name = getattr(function, "__name__", type(function).__name__)
    for is_one, what in _GIVES.items():
        if is_one(given):
            getattr(given, "close", lambda: None)()  # else Python warns that nobody awaited it
            raise TypeError(f"{name} {what}")
    if given is not None and not run.has_said:
        raise TypeError(
            f"{name} returned {type_name(given)} and reported nothing; what counts is what it reports: "
            f"ray.train.report({{{run.spec.metric.name!r}: ...}})"
        )


def parameters(function: Any) -> dict[str, inspect.Parameter]:
    """Return what it can be given by position or name."""
    try:
        found = inspect.signature(function).parameters
    except (TypeError, ValueError):  # compiled code without a signature
        return {"config": inspect.Parameter("config", inspect.Parameter.POSITIONAL_ONLY)}
    return {name: one for name, one in found.items() if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)}
