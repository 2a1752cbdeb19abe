"""A12: every arm does something, and no two do the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from orchestrator.training.gates.bench import Bench
from orchestrator.training.gates.model import modules_with_parameters
from orchestrator.training.gates.recording import RecordingConfig, was_read
from orchestrator.training.gates.results import (
    ArmToCheck,
    EvidenceTable,
    GateVerdict,
    failed,
    passed,
    skipped,
)

STEPS = 5


@dataclass(frozen=True)
class Tried:
    """The first steps of an arm."""

    arm: ArmToCheck
    losses: tuple[float, ...]
    read: frozenset[str]
    layers: dict[str, tuple[str, int]]
    parameters: int
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
        layers = modules_with_parameters(model)
        count = sum(p.numel() for p in model.parameters())
    except Exception as error:
        said = f"{type(error).__name__}: {' '.join(str(error).split())}"
        return Tried(arm, (), frozenset(read), {}, 0, said)
    return Tried(arm, losses, frozenset(read), layers, count)


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
    return EvidenceTable(
        f"The arms after {STEPS} steps",
        ("arm", "changes", "parameters", "layers", f"loss {STEPS}"),
        tuple(rows),
    )


def _layers(reference: Tried, arm: Tried) -> str:
    """Differences of the module trees: + added, - gone, ~ of another kind or size."""
    added = [f"+{name}" for name in arm.layers if name not in reference.layers]
    gone = [f"-{name}" for name in reference.layers if name not in arm.layers]
    other = [
        f"~{name} ({reference.layers[name][0]} → {layer[0]})"
        if layer[0] != reference.layers[name][0]
        else f"~{name}"
        for name, layer in arm.layers.items()
        if name in reference.layers and layer != reference.layers[name]
    ]
    all_of_them = [*added, *gone, *other]
    return ", ".join(all_of_them[:4]) + (f" and {len(all_of_them) - 4} more" if len(all_of_them) > 4 else "")
