"""Which part of a config goes to the LightningModule, to the DataModule, and to Lightning's Trainer.

    baseline:
      model: {hidden: 64}          # arguments of the module's __init__, by name; so is any other section
      optim: {lr: 1e-3}
      data: {batch_size: 32}       # arguments of the DataModule's (of the module's, where there is none)
      trainer: {gradient_clip_val: 1.0}    # of lightning.Trainer

A key that nobody takes is an error: an arm that changes it would do nothing.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.study.faults import nearest

TRAINER = "trainer"
DATA = "data"
ADDED = ("seed", "max_length")
"""Given to whoever has an argument of that name."""
WHOLE = "config"
"""An argument of this name gets the whole config."""
ELSEWHERE = {
    "max_epochs": "stopping.max",
    "max_steps": "stopping.max",
    "max_time": "stopping.max with unit: seconds",
    "min_epochs": "stopping",
    "min_steps": "stopping",
    "devices": "resources.gpus_per_worker",
    "accelerator": "resources.gpus_per_worker",
    "num_nodes": "resources.workers",
    "logger": "loggers",
    "enable_checkpointing": "checkpoint",
    "default_root_dir": "storage",
    "callbacks": "configure_callbacks() of the module",
    "plugins": "nothing: Ray's environment is the only one",
    "fast_dev_run": "orchestrate check",
    "barebones": "nothing",
}
"""Options of the Trainer that the study decides, and by what."""
STRATEGIES = ("ddp", "ddp_find_unused_parameters_true", "fsdp")


@dataclass(frozen=True)
class Arguments:
    """Keyword arguments of the three."""

    module: dict[str, Any]
    data: dict[str, Any]
    trainer: dict[str, Any]


def divide(config: Mapping[str, Any], module: type, data: type | None) -> Arguments:
    """Return the arguments that a config holds for a LightningModule, a DataModule (or None) and the Trainer.

    Raises:
        ValueError: keys that nobody takes, that two sections give, or that the study decides; all of them.
    """
    trainer = dict(config.get(TRAINER) or {})
    rest = {key: value for key, value in config.items() if key not in (TRAINER, *ADDED)}
    mine = {key: value for key, value in rest.items() if data is None or key != DATA}
    theirs = {DATA: rest[DATA]} if data is not None and DATA in rest else {}
    faults: list[str] = list(_decided_elsewhere(trainer))
    for_module, for_data = _taken(mine, module, config, faults), _taken(theirs, data, config, faults)
    if faults:
        raise ValueError("; ".join(faults))
    return Arguments(for_module, for_data, trainer)


def _decided_elsewhere(trainer: Mapping[str, Any]) -> Iterator[str]:
    for key in trainer:
        if key in ELSEWHERE:
            yield f"trainer.{key} is decided by {ELSEWHERE[key]} in the study file"
    strategy = trainer.get("strategy", STRATEGIES[0])
    if strategy not in STRATEGIES:
        yield f"trainer.strategy is {strategy!r}; on Ray it is one of {', '.join(STRATEGIES)}"


def _taken(
    part: Mapping[str, Any], kind: type | None, config: Mapping[str, Any], faults: list[str]
) -> dict[str, Any]:
    if kind is None:
        return {}
    names, required, takes_any = _parameters(kind)
    found: dict[str, Any] = {key: config[key] for key in ADDED if key in names and key in config}
    if WHOLE in names and WHOLE not in part:
        return {**found, WHOLE: {key: config[key] for key in config}}
    for path, name, value in _settings(part, names):
        if name not in names and not takes_any:
            said = f"no argument of {kind.__name__} is called {name!r} (config key {path})"
            faults.append(f"{said}; {nearest(name, names)}" if names else f"{said}: it has none")
        elif name in found:
            faults.append(f"config key {path}: {kind.__name__} has {name!r} from another section already")
        else:
            found[name] = value
    missing = [name for name in required if name not in found]
    faults += [f"{kind.__name__} needs {name!r}, which no key of the config is called" for name in missing]
    return found


def _settings(part: Mapping[str, Any], names: list[str]) -> Iterator[tuple[str, str, Any]]:
    """Dotted key, last name and value: of top-level keys that are arguments, else of what is inside."""
    for key, value in part.items():
        if isinstance(value, Mapping) and key not in names:
            for name, inner in value.items():
                yield f"{key}.{name}", name, inner
        else:
            yield key, key, value


def _parameters(kind: type) -> tuple[list[str], list[str], bool]:
    """Names of the arguments of a class, those without a default, and whether it takes any."""
    constructor: Any = vars(kind).get("__init__") or getattr(kind, "__init__")  # noqa: B009 - for mypy
    if constructor.__module__.partition(".")[0] in ("lightning", "torch"):
        return [], [], False  # it has no __init__ of its own
    given = list(inspect.signature(kind).parameters.values())
    named = [p for p in given if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    required = [p.name for p in named if p.default is p.empty]
    return [p.name for p in named], required, any(p.kind is p.VAR_KEYWORD for p in given)
