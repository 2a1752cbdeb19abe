"""A9: where the time of a step goes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from orchestrator.training.gates.bench import Bench
from orchestrator.training.gates.results import EvidenceTable, GateVerdict, failed, passed
from orchestrator.training.task import TRAIN, Optimizer

WARM_UP = 2
STEPS = 10
SECONDS = 15.0
SLOW_STEP_S = 1.0
DATA_SHARE = 0.5
"""Share of a step spent waiting for data from which the data are the bottleneck..."""
DATA_S = 0.02
"""...and the seconds per step below which that is nothing to fail on."""
PARTS = {
    "data": "waiting for data",
    "augment": "augmentation",
    "forward": "the forward pass",
    "backward": "the backward pass",
    "optimizer": "the optimizer's update",
    "logging": "fetching the loss",
}
HINTS = {
    "data": "less work in __getitem__: decode in build_data, or once into files that load fast",
    "augment": "Task.augment: work on whole tensors [B, ...] instead of sample by sample",
}


def step_time(bench: Bench) -> GateVerdict:
    """Fails where training would mostly wait for its data; a step of over a second is flagged."""
    spent = measure(bench)
    total = sum(spent.values())
    slowest = max(spent, key=lambda part: spent[part])
    table = budget(spent)
    rate = bench.batch_size / total
    text = f"{total * 1e3:.1f} ms a step, {rate:,.0f} samples/s; "
    text += f"{spent[slowest] / total:.0%} of it is {PARTS[slowest]}"
    waiting = spent["data"] + spent["augment"]
    if waiting >= DATA_S and waiting / total > DATA_SHARE:
        worst = max(("data", "augment"), key=lambda part: spent[part])
        return failed(
            f"a step takes {total * 1e3:.0f} ms, {waiting / total:.0%} of it before the model sees the batch",
            HINTS[worst],
            "work that is the same every time belongs into build_data, which is kept between trials",
            tables=(table,),
        )
    warnings = (f"a step takes over a second ({total:.1f} s)",) if total > SLOW_STEP_S else ()
    return passed(text, tables=(table,), warnings=warnings)


def budget(spent: dict[str, float]) -> EvidenceTable:
    """Where a step's seconds go."""
    total = sum(spent.values())
    rows = tuple((part, f"{spent[part] * 1e3:.2f}", f"{spent[part] / total:.0%}") for part in PARTS)
    return EvidenceTable("A training step", ("part", "ms", "share"), rows)


def measure(bench: Bench) -> dict[str, float]:
    """Seconds per step by part, the mean over up to `STEPS` steps after a warm-up."""
    model = bench.model()
    optimizer = bench.optimizer(model)
    order = bench.order()
    spent = dict.fromkeys(PARTS, 0.0)
    deadline = time.monotonic() + SECONDS
    steps = 0
    for number in range(WARM_UP + (1 if bench.request.brief else STEPS)):
        if number == WARM_UP:
            spent = dict.fromkeys(PARTS, 0.0)
            steps = 0
        clock = _Clock(bench.device, spent)
        start = number * bench.batch_size % max(1, len(order) - bench.batch_size + 1)
        raw = clock("data", lambda: bench.take(TRAIN, order[start : start + bench.batch_size]))  # noqa: B023
        batch = clock("augment", lambda: bench.augmented(raw))  # noqa: B023
        loss = clock("forward", lambda: bench.loss(model, batch))  # noqa: B023
        clock("backward", loss.backward)
        clock("optimizer", lambda: _update(optimizer))
        clock("logging", lambda: float(loss.detach()))  # noqa: B023
        steps += 1
        if time.monotonic() > deadline:
            break
    return {part: seconds / steps for part, seconds in spent.items()}


def _update(optimizer: Optimizer) -> None:
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


class _Clock:
    """Adds the time of a call to its part; on a GPU up to the end of what it started."""

    def __init__(self, device: torch.device, spent: dict[str, float]) -> None:
        self._wait: Callable[[], None] = (
            (lambda: torch.cuda.synchronize(device)) if device.type == "cuda" else (lambda: None)
        )
        self._spent = spent

    def __call__(self, part: str, call: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        with torch.profiler.record_function(part):  # names it in a trace
            result = call()
            self._wait()
        self._spent[part] += time.perf_counter() - start
        return result
