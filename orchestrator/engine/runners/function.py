"""A Ray Train function, unchanged."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from orchestrator.engine.attempts import call_function, parameters
from orchestrator.engine.runners.runner import Code, ImportedRunner, NoEntrypoint, TrialPlace

if TYPE_CHECKING:
    from orchestrator.engine.attempts import TrialRun


class FunctionRunner(ImportedRunner):
    """Anything that is called with the config, or with nothing, and reports by `ray.train.report`."""

    noun = "a Ray Train function `def train(config)`"

    @classmethod
    def takes(cls, target: Any, code: Code) -> bool:
        if not callable(target) or inspect.isclass(target):
            return False
        called = (target, type(target).__call__)
        if any(inspect.iscoroutinefunction(one) or inspect.isasyncgenfunction(one) for one in called):
            raise NoEntrypoint(f"{code.entrypoint} is async, and nothing would await it; write a plain `def`")
        if any(map(inspect.isgeneratorfunction, called)):
            raise NoEntrypoint(
                f"{code.entrypoint} has a yield, so that calling it runs nothing; "
                "report with ray.train.report({...}) instead"
            )
        needed = [name for name, one in parameters(target).items() if one.default is one.empty]
        if len(needed) > 1:
            raise NoEntrypoint(
                f"{code.entrypoint} takes {', '.join(needed)}; it is called with the config alone: "
                "def train(config)"
            )
        return True

    def run(self, run: TrialRun, place: TrialPlace) -> None:
        with place.bound(run):
            call_function(self.target, run)

    def bench(self, *_: Any) -> str:
        return "a plain Ray Train function shows neither its data nor its model: only Ray can call it"
