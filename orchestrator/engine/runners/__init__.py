"""What an entrypoint may be: a `Runner` for each kind; packages bring more (`orchestrator.runners`)."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.engine.runners.runner import Code, ImportedRunner, NoEntrypoint, Runner, TrialPlace
from orchestrator.engine.runners.task import is_task
from orchestrator.study.plugins import Registry

__all__ = ["RUNNERS", "Code", "ImportedRunner", "NoEntrypoint", "Runner", "TrialPlace", "runner_of"]

_BUILT_IN = {
    "task": "orchestrator.engine.runners.task:TaskRunner",
    "lightning": "orchestrator.engine.runners.lightning:LightningRunner",
    "function": "orchestrator.engine.runners.function:FunctionRunner",
    "command": "orchestrator.engine.command.runner:CommandRunner",
}


def _is_runner(found: object) -> bool:
    return isinstance(found, type) and issubclass(found, Runner)


RUNNERS: Registry[type[Runner]] = Registry("runner", "orchestrator.runners", _BUILT_IN, _is_runner)


def runner_of(code: Code) -> Runner:
    """Return the runner whose kind the entrypoint is; packages' runners are asked before the built-in ones.

    Raises:
        Exception: whatever the user's module raises.
        NoEntrypoint: it is of no kind, or nearly of one; the text says what to change.
    """
    kinds = [RUNNERS.get(name) for name in sorted(RUNNERS, key=_BUILT_IN.__contains__)]
    for kind in kinds:
        runner = kind.of(code)
        if runner is not None:
            if code.datamodule is not None and not kind.takes_datamodule:
                raise NoEntrypoint(
                    f"datamodule goes with a LightningModule, but {code.entrypoint} is {kind.noun}; remove it"
                )
            return runner
    nouns = ", ".join(kind.noun for kind in kinds)
    raise NoEntrypoint(f"{code.entrypoint} is {_described(code)}; an entrypoint is {nouns}")


def _described(code: Code) -> str:
    """Return what it is instead, and how the author would make it what was meant."""
    if isinstance(code.entrypoint, Mapping):
        return "a mapping that nothing takes"
    return "; ".join(_words(code.target))


def _words(target: Any) -> Iterator[str]:
    if inspect.isclass(target):
        yield f"the class {target.__name__}"
        hooks = [name for name in ("build_data", "build_model", "loss") if hasattr(target, name)]
        if hooks:
            yield f"it has {' and '.join(hooks)}: derive it from orchestrator.Task"
        elif hasattr(target, "training_step"):
            yield "it has training_step: derive it from lightning.pytorch.LightningModule"
    elif is_task(type(target)):
        yield f"an instance of {type(target).__name__}; name the class: every trial makes its own"
    elif inspect.ismodule(target):
        yield "a module; name what is in it, module:name"
    else:
        yield f"an object of type {type(target).__name__}"
