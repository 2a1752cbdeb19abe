"""A `Task`, trained by the built-in loop."""

from __future__ import annotations

import inspect
import sys
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

from orchestrator.engine.runners.runner import Code, ImportedRunner, TrialPlace

if TYPE_CHECKING:
    from orchestrator.engine.attempts import TrialRun
    from orchestrator.training.gates.bench import Bench
    from orchestrator.training.gates.results import CheckRequest


def is_task(target: Any) -> bool:
    """Tell whether it derives from `Task`; whoever derives from it has imported it, and torch with it."""
    module = sys.modules.get("orchestrator.training.task")
    return module is not None and inspect.isclass(target) and issubclass(target, module.Task)


class TaskRunner(ImportedRunner):
    """A class; every trial makes one of it."""

    noun = "a subclass of orchestrator.Task"

    @classmethod
    def takes(cls, target: Any, code: Code) -> bool:  # noqa: ARG003 - the target says it all
        return is_task(target)

    def run(self, run: TrialRun, place: TrialPlace) -> None:
        from orchestrator.training.loop import Trainer

        with place.session(run) as session:
            with run.link.trace.span("set up the data"):
                trainer = Trainer(self.target(session.config), session)
            trainer.run()

    def runs_without_ray(self, workers: int) -> bool:
        return workers == 1

    def bench(self, request: CheckRequest, cache: MutableMapping[str, Any]) -> Bench:
        from orchestrator.training.gates.bench import Bench

        return Bench(self.target, request, cache=cache)
