"""A12: every arm does something, and no two do the same; a config that notes what is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from orchestrator.training.gates.bench import Bench
from orchestrator.training.gates.results import (
    ArmToCheck,
    EvidenceTable,
    GateVerdict,
    failed,
    listed,
    passed,
    skipped,
)

STEPS = 5


@dataclass(frozen=True)
class Tried:
    """The first steps of an arm."""

    arm: ArmToCheck
    losses: tuple[float, ...] = ()
    read: set[str] = field(default_factory=set)
    layers: dict[str, tuple[str, int]] = field(default_factory=dict)
    """Class, and number of parameters of its own, of leaf modules and modules with parameters, by name."""
    parameters: int = 0
    error: str | None = None


def every_arm(bench: Bench) -> GateVerdict:
    """Five steps of each arm, config keys that are read noted."""
    if len(bench.request.arms) < 2:
        return skipped("the study has the reference arm only")
    tried = [_try(bench, arm) for arm in bench.request.arms]
    faults = list(_faults(tried))
    later = [t.arm.name for t in tried if (t.arm.acts_after or 0) >= STEPS]
    table = _table(tried)
    if faults:
        return failed(
            "; ".join(faults[:5]) + (f"; and {len(faults) - 5} more" if len(faults) > 5 else ""),
            "the Task reads another key than the study file changes (spelling, nesting)",
            "the key is read, but its value is not used, or a later line overrides it",
            "the component acts only later: say so with `acts_after: <steps>`",
            tables=(table,),
        )
    text = f"{len(tried) - 1} arms beside {tried[0].arm.name}: every key that they change is read, "
    text += f"and no two have the same {STEPS} losses"
    if later:
        text += f"; {', '.join(later)} may act later than that"
    return passed(text, tables=(table,))


def _try(bench: Bench, arm: ArmToCheck) -> Tried:
    read: set[str] = set()
    config = RecordingConfig(bench.config_of(arm.config), read)
    try:
        losses, model = bench.first_steps(config, STEPS)
    except Exception as error:
        return Tried(arm, read=read, error=f"{type(error).__name__}: {' '.join(str(error).split())}")
    layers = {
        name or "(model)": (type(module).__name__, own)
        for name, module in model.named_modules()
        if (own := _count(module, recurse=False)) or not list(module.children())
    }
    return Tried(arm, losses, read, layers, _count(model))


def _count(module: nn.Module, *, recurse: bool = True) -> int:
    return sum(p.numel() for p in module.parameters(recurse))


def _faults(tried: list[Tried]) -> Iterator[str]:
    reference = tried[0]
    if reference.error is not None:
        yield f"{reference.arm.name} does not train: {reference.error}"
        return
    seen = {reference.losses: reference.arm.name}
    for arm in tried[1:]:
        name = arm.arm.name
        if arm.error is not None:
            yield f"{name} does not train: {arm.error}"
            continue
        unread = [key for key in arm.arm.set if not was_read(key, {*arm.read, *reference.read})]
        if unread:
            yield f"{name} changes {', '.join(unread)}, which nothing reads"
        elif arm.losses in seen and (arm.arm.acts_after or 0) < STEPS:
            yield f"{name} does the same as {seen[arm.losses]}: {STEPS} equal losses, bit for bit"
        seen.setdefault(arm.losses, name)


def _table(tried: list[Tried]) -> EvidenceTable:
    reference = tried[0]
    rows = []
    for arm in tried:
        changes = ", ".join(f"{key}: {value}" for key, value in arm.arm.set.items())
        if arm.error is not None:
            rows.append((arm.arm.name, changes, "", "", arm.error))
            continue
        difference = arm.parameters - reference.parameters
        count = f"{arm.parameters:,}" + (f" ({difference:+,})" if difference else "")
        rows.append((arm.arm.name, changes, count, _layers(reference, arm), f"{arm.losses[-1]:.6g}"))
    columns = ("arm", "changes", "parameters", "layers", f"loss {STEPS}")
    return EvidenceTable(f"The arms after {STEPS} steps", columns, tuple(rows))


def _layers(reference: Tried, arm: Tried) -> str:
    """Differences of the module trees: + added, - gone, ~ of another kind or size."""
    added = [f"+{name}" for name in arm.layers if name not in reference.layers]
    gone = [f"-{name}" for name in reference.layers if name not in arm.layers]
    other = [
        f"~{name}" + (f" ({before[0]} → {layer[0]})" if layer[0] != before[0] else "")
        for name, layer in arm.layers.items()
        if (before := reference.layers.get(name, layer)) != layer
    ]
    return listed([*added, *gone, *other])


class RecordingConfig(dict[str, Any]):
    """A dict like any other, whose reads end up in `read` as dotted keys.

    It errs towards *read*: whoever copies or unpacks a section has read all of it.
    """

    def __init__(self, data: Mapping[str, Any], read: set[str], prefix: str = "") -> None:
        super().__init__(
            {
                key: RecordingConfig(value, read, f"{prefix}{key}.") if isinstance(value, Mapping) else value
                for key, value in data.items()
            }
        )
        self._read = read
        self._prefix = prefix

    def __getitem__(self, key: str) -> Any:
        self._read.add(f"{self._prefix}{key}")
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        return self[key] if key in self else default  # noqa: SIM401 - this is get

    def pop(self, key: str, *default: Any) -> Any:
        self._read.add(f"{self._prefix}{key}")
        return super().pop(key, *default)

    def values(self) -> Any:
        return [self[key] for key in self]

    def items(self) -> Any:
        return [(key, self[key]) for key in self]

    def __iter__(self) -> Iterator[str]:
        # with its own iterator, dict(config) and **config go through __getitem__ instead of around it
        return iter(list(super().keys()))

    def copy(self) -> dict[str, Any]:
        return dict(self.items())

    def __or__(self, other: Any) -> Any:
        return self.copy() | other

    def __ror__(self, other: Any) -> Any:
        return other | self.copy()

    def __deepcopy__(self, memo: dict[int, Any]) -> dict[str, Any]:
        return {
            key: value.__deepcopy__(memo) if isinstance(value, RecordingConfig) else value
            for key, value in self.items()
        }


def was_read(key: str, read: set[str]) -> bool:
    """Was the dotted key read, or anything below it?"""
    return any(name == key or name.startswith(f"{key}.") for name in read)
